using System.Diagnostics;

namespace Storage.Cli.Faults.Workloads;

/// <summary>Time since the start of a run.</summary>
internal sealed class RunClock
{
    private readonly long _start = Stopwatch.GetTimestamp();

    public TimeSpan Now => Stopwatch.GetElapsedTime(_start);

    public long Microseconds => (long)Now.TotalMicroseconds;
}
