using System.Diagnostics;
using System.Runtime.InteropServices;
using Storage.Reactor;

namespace Storage.ObjectStore.Bench;

/// <summary>
/// How long the loop kept everybody waiting, by a timer of a millisecond: how late it came, and how much processor time the loop's own thread took meanwhile, which
/// is what is left when the scheduler's part and that of pauses for garbage is taken off.
/// </summary>
internal static partial class LoopProbe
{
    private static readonly TimeSpan s_period = TimeSpan.FromMilliseconds(1);
    private static TimeSpan s_longest;
    private static TimeSpan s_longestOwn;
    private static TaskCompletionSource? s_pass;

    public static void Start(ReactorLoop loop) => Arm(loop);

    /// <summary>Completes with the timer's next firing: what was done before it is not part of what follows.</summary>
    public static Task PassAsync() => (s_pass ??= new TaskCompletionSource()).Task;

    /// <summary>The longest since the last call.</summary>
    public static (TimeSpan Late, TimeSpan Own) TakeLongest()
    {
        (TimeSpan late, TimeSpan own) = (s_longest, s_longestOwn);
        s_longest = s_longestOwn = default;
        return (late, own);
    }

    private static void Arm(ReactorLoop loop)
    {
        long armed = Stopwatch.GetTimestamp();
        TimeSpan worked = ThreadTime();
        TimeSpan collected = GC.GetTotalPauseDuration();
        loop.Schedule(
            s_period,
            _ =>
            {
                TimeSpan late = Stopwatch.GetElapsedTime(armed) - s_period;
                TimeSpan own = ThreadTime() - worked - (GC.GetTotalPauseDuration() - collected) - s_period; // the collector may run on this thread
                s_longest = late > s_longest ? late : s_longest;
                s_longestOwn = own > s_longestOwn ? own : s_longestOwn;
                Arm(loop);
                TaskCompletionSource? pass = s_pass;
                s_pass = null;
                pass?.SetResult();
            },
            null);
    }

    private static TimeSpan ThreadTime()
    {
        const int ThreadClock = 3;
        _ = GetTime(ThreadClock, out TimeSpec time);
        return new TimeSpan((time.Seconds * TimeSpan.TicksPerSecond) + (time.Nanoseconds / 100));
    }

    [LibraryImport("libc", EntryPoint = "clock_gettime")]
    private static partial int GetTime(int clock, out TimeSpec time);

    private struct TimeSpec
    {
        public long Seconds;
        public long Nanoseconds;
    }
}
