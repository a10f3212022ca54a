using System.Globalization;
using Storage.ObjectStore.Disk;
using Storage.Reactor;

namespace Storage.ObjectStore.Bench;

/// <summary>Looks at the process's resident memory while a load runs.</summary>
internal sealed class MemoryProbe
{
    private const double Tolerance = 1.10;
    private static readonly TimeSpan s_period = TimeSpan.FromMilliseconds(250);
    private readonly ReactorLoop _loop;
    private readonly long _target;
    private long _samples;
    private long _highest;
    private long _full; // samples within a tenth of the target
    private long _above;
    private bool _over;

    public MemoryProbe(ReactorLoop loop, long target)
    {
        (_loop, _target) = (loop, target);
        Arm();
    }

    /// <summary>Says what was seen, and ends.</summary>
    public void Print(DiskObjectStore store)
    {
        _over = true;
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"  memory target {_target >> 20} MiB: {_samples} samples, highest {_highest >> 20} MiB ({100.0 * _highest / _target:F0} %), within a tenth of it {100.0 * _full / Math.Max(1, _samples):F0} % of the time, above 110 % {100.0 * _above / Math.Max(1, _samples):F0} %; at the end metadata {store.MetadataBytes >> 20} MiB, data {store.DataCacheBytes >> 20} MiB, the heap {GC.GetTotalMemory(false) >> 20} MiB"));
    }

    private void Arm() => _loop.Schedule(
        s_period,
        _ =>
        {
            if (_over)
            {
                return;
            }

            long resident = Environment.WorkingSet;
            _samples++;
            _highest = Math.Max(_highest, resident);
            _full += resident > _target * (2 - Tolerance) && resident <= _target * Tolerance ? 1 : 0;
            _above += resident > _target * Tolerance ? 1 : 0;
            Arm();
        },
        null);
}
