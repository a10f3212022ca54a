using System.Diagnostics;
using System.Globalization;

namespace Storage.ObjectStore.Bench;

/// <summary>Latencies, CPU time and bytes written of one load, printed as a row.</summary>
internal sealed class Meter
{
    // Buckets of about 3 %: 32 to a power of two of nanoseconds.
    private const int Fine = 32;
    private readonly long[] _buckets = new long[64 * Fine];
    private readonly Process _process = Process.GetCurrentProcess();
    private readonly TimeSpan _cpuBefore;
    private readonly long _writtenBefore;
    private readonly long _start = Stopwatch.GetTimestamp();
    private readonly TimeSpan _collectingBefore = GC.GetTotalPauseDuration();
    private long _count;
    private long _longest;
    private long _longestGap; // between two operations that end
    private long _lastEnd;

    public Meter()
    {
        LoopProbe.TakeLongest();
        _cpuBefore = _process.TotalProcessorTime;
        _writtenBefore = BytesWritten();
    }

    public static void PrintHead() => Console.WriteLine(
        $"{"load",-34} {"op/s",9} {"MB/s",8} {"mean us",9} {"p99 us",9} {"p99.9 us",9} {"max us",9} {"gap us",9} {"pause us",9} {"own us",9} {"CPU us/op",9} {"written/B",9} {"GC ms",7} {"RSS MiB",8}");

    public void Add(long startedTicks)
    {
        long nanoseconds = (long)Stopwatch.GetElapsedTime(startedTicks).TotalNanoseconds;
        int power = 63 - System.Numerics.BitOperations.LeadingZeroCount((ulong)Math.Max(Fine, nanoseconds));
        int low = (int)((nanoseconds >> Math.Max(0, power - 5)) & (Fine - 1));
        _buckets[power * Fine + low]++;
        _count++;
        _longest = Math.Max(_longest, nanoseconds);
        long now = Stopwatch.GetTimestamp();
        _longestGap = Math.Max(_longestGap, _lastEnd == 0 ? 0 : now - _lastEnd);
        _lastEnd = now;
    }

    public void Print(string name, long bytesPerOperation)
    {
        double seconds = Stopwatch.GetElapsedTime(_start).TotalSeconds;
        _process.Refresh();
        double cpu = (_process.TotalProcessorTime - _cpuBefore).TotalMicroseconds / Math.Max(1, _count);
        long written = BytesWritten() - _writtenBefore;
        (TimeSpan late, TimeSpan own) = LoopProbe.TakeLongest();
        string amplification = bytesPerOperation == 0 || written == 0 ? "-" : ((double)written / (_count * bytesPerOperation)).ToString("F2", CultureInfo.InvariantCulture);
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{name,-34} {_count / seconds,9:F0} {_count * bytesPerOperation / seconds / 1e6,8:F1} {Mean(),9:F0} {Percentile(0.99),9:F0} {Percentile(0.999),9:F0} {_longest / 1000.0,9:F0} {_longestGap * 1e6 / Stopwatch.Frequency,9:F0} {late.TotalMicroseconds,9:F0} {own.TotalMicroseconds,9:F0} {cpu,9:F1} {amplification,9} {(GC.GetTotalPauseDuration() - _collectingBefore).TotalMilliseconds,7:F0} {_process.WorkingSet64 >> 20,8}"));
    }

    private double Mean()
    {
        double sum = 0;
        for (int i = 0; i < _buckets.Length; i++)
        {
            sum += _buckets[i] * Middle(i);
        }

        return _count == 0 ? 0 : sum / _count;
    }

    private double Percentile(double share)
    {
        long left = (long)Math.Ceiling(_count * share);
        for (int i = 0; i < _buckets.Length; i++)
        {
            left -= _buckets[i];
            if (left <= 0)
            {
                return Middle(i);
            }
        }

        return 0;
    }

    /// <summary>Microseconds in the middle of a bucket.</summary>
    private static double Middle(int bucket) => Math.ScaleB(1 + (bucket % Fine + 0.5) / Fine, bucket / Fine) / 1000;

    // What the process gave to the block layer, direct and through the page cache.
    private static long BytesWritten()
    {
        foreach (string line in File.ReadLines("/proc/self/io"))
        {
            if (line.StartsWith("write_bytes: ", StringComparison.Ordinal))
            {
                return long.Parse(line["write_bytes: ".Length..], CultureInfo.InvariantCulture);
            }
        }

        return 0;
    }
}
