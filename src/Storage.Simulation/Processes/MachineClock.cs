using Storage.Reactor.Virtual;

namespace Storage.Simulation.Processes;

/// <summary>
/// A machine's clocks: one that only runs, from an origin of its own and a little too fast or too slow, and one on the wall, which also jumps.
/// </summary>
internal sealed class MachineClock(VirtualLoop loop, TimeSpan origin, TimeSpan wallSkew)
{
    private TimeSpan _since = loop.Now;
    private TimeSpan _base = origin;
    private double _rate = 1;

    /// <summary>Seconds that it counts in a second. Must stay within what leases allow for.</summary>
    public double Rate
    {
        get => _rate;
        set
        {
            _base = Now;
            _since = loop.Now;
            _rate = value;
        }
    }

    /// <summary>What the running clock shows.</summary>
    public TimeSpan Now => _base + ((loop.Now - _since) * _rate);

    /// <summary>How far the wall clock is off.</summary>
    public TimeSpan WallSkew { get; set; } = wallSkew;

    /// <summary>What the wall clock shows.</summary>
    public DateTimeOffset WallNow => loop.TimeProvider.GetUtcNow() + WallSkew;

    /// <summary>The true length, never too short, of a span on the running clock.</summary>
    public TimeSpan ToTrue(TimeSpan span) => TimeSpan.FromTicks((long)Math.Ceiling(span.Ticks / _rate));
}
