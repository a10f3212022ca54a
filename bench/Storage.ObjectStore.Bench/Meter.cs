using System.Diagnostics;
using System.Globalization;
using Storage.Reactor;

namespace Storage.ObjectStore.Bench;

/// <summary>Latencies, CPU time and bytes written of one load, printed as a row.</summary>
internal sealed class Meter
{
    private readonly LatencyHistogram _latencies = new();
    private readonly Process _process = Process.GetCurrentProcess();
    private readonly TimeSpan _cpuBefore;
    private readonly long _writtenBefore;
    private readonly long _start = Stopwatch.GetTimestamp();
    private readonly TimeSpan _collectingBefore = GC.GetTotalPauseDuration();
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
        _latencies.Add(Stopwatch.GetElapsedTime(startedTicks));
        long now = Stopwatch.GetTimestamp();
        _longestGap = Math.Max(_longestGap, _lastEnd == 0 ? 0 : now - _lastEnd);
        _lastEnd = now;
    }

    public void Print(string name, long bytesPerOperation)
    {
        double seconds = Stopwatch.GetElapsedTime(_start).TotalSeconds;
        _process.Refresh();
        double cpu = (_process.TotalProcessorTime - _cpuBefore).TotalMicroseconds / Math.Max(1, _latencies.Count);
        long written = BytesWritten() - _writtenBefore;
        (TimeSpan late, TimeSpan own) = LoopProbe.TakeLongest();
        string amplification = bytesPerOperation == 0 || written == 0 ? "-" : ((double)written / (_latencies.Count * bytesPerOperation)).ToString("F2", CultureInfo.InvariantCulture);
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{name,-34} {_latencies.Count / seconds,9:F0} {_latencies.Count * bytesPerOperation / seconds / 1e6,8:F1} {_latencies.Mean.TotalMicroseconds,9:F0} {_latencies.Percentile(0.99).TotalMicroseconds,9:F0} {_latencies.Percentile(0.999).TotalMicroseconds,9:F0} {_latencies.Longest.TotalMicroseconds,9:F0} {_longestGap * 1e6 / Stopwatch.Frequency,9:F0} {late.TotalMicroseconds,9:F0} {own.TotalMicroseconds,9:F0} {cpu,9:F1} {amplification,9} {(GC.GetTotalPauseDuration() - _collectingBefore).TotalMilliseconds,7:F0} {_process.WorkingSet64 >> 20,8}"));
    }

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
