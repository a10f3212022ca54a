using System.Diagnostics;
using Storage.Reactor;

namespace Storage.ObjectStore.Bench;

/// <summary>The longest time that the loop kept everybody waiting: a timer of a millisecond, and how late it came.</summary>
internal static class LoopProbe
{
    private static readonly TimeSpan s_period = TimeSpan.FromMilliseconds(1);
    private static TimeSpan s_longest;

    public static void Start(ReactorLoop loop) => Arm(loop);

    /// <summary>The longest since the last call.</summary>
    public static TimeSpan TakeLongest()
    {
        TimeSpan longest = s_longest;
        s_longest = default;
        return longest;
    }

    private static void Arm(ReactorLoop loop)
    {
        long armed = Stopwatch.GetTimestamp();
        loop.Schedule(
            s_period,
            _ =>
            {
                TimeSpan late = Stopwatch.GetElapsedTime(armed) - s_period;
                s_longest = late > s_longest ? late : s_longest;
                Arm(loop);
            },
            null);
    }
}
