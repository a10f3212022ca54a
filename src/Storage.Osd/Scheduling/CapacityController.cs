namespace Storage.Osd;

/// <summary>
/// Finds how much an OSD can do without its clients feeling it, on disks of which nothing is known. Once a second background
/// work pauses for a moment; what client operations take then is what they take on an idle cluster. Capacity grows while
/// clients stay within the profile's multiple of that, and shrinks when they do not. No clock: time is passed in.
/// </summary>
/// <remarks>The pauses stand at whole seconds of wall time, so that all OSDs of a cluster pause together: a write waits for its
/// replicas too. Where clocks differ, only the comparison gets coarser.</remarks>
internal sealed class CapacityController
{
    /// <summary>Capacity never falls below this (cost per second).</summary>
    public const double Least = 8 << 20;

    /// <summary>Capacity never rises above this.</summary>
    public const double Most = 8e9;

    /// <summary>Where it begins.</summary>
    public const double Initial = 128 << 20;

    /// <summary>Length of a pause.</summary>
    public static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(40);

    // What is still under way when the pause begins must not count.
    private static readonly TimeSpan s_drain = TimeSpan.FromMilliseconds(12);
    private static readonly TimeSpan s_step = TimeSpan.FromMilliseconds(50);
    private static readonly TimeSpan s_excluded = TimeSpan.FromSeconds(1);
    private const int EnoughQuiet = 4;
    private const int EnoughBusy = 4;

    private TimeSpan _pauseFrom = TimeSpan.MinValue;
    private TimeSpan _pauseTo = TimeSpan.MinValue;
    private TimeSpan _stepAt;
    private double _quietSum;
    private int _quietCount;
    private double _busySum;
    private int _busyCount;

    /// <summary>Cost per second of all classes together.</summary>
    public double Capacity { get; private set; } = Initial;

    /// <summary>Seconds that a client operation takes without background work; 0 while that is not known.</summary>
    public double QuietLatency { get; private set; }

    /// <summary>Seconds that it took in the last step.</summary>
    public double BusyLatency { get; private set; }

    /// <summary>A pause begins.</summary>
    public void OnPause(TimeSpan now)
    {
        EndPause();
        _pauseFrom = now;
        _pauseTo = now + Pause;
    }

    /// <summary>A client operation was answered.</summary>
    /// <param name="arrived">When it came.</param>
    /// <param name="now">Now.</param>
    /// <param name="backgroundWaits">Whether there is background work at all: without it every operation tells what quiet is.</param>
    public void OnClientDone(TimeSpan arrived, TimeSpan now, bool backgroundWaits)
    {
        TimeSpan took = now - arrived;
        if (took >= s_excluded)
        {
            return; // it waited for something else: peering, an object, a map
        }

        if (!backgroundWaits || (arrived >= _pauseFrom + s_drain && now <= _pauseTo))
        {
            _quietSum += took.TotalSeconds;
            _quietCount++;
            if (_quietCount >= 256)
            {
                EndPause();
            }
        }
        else if (now > _pauseTo)
        {
            _busySum += took.TotalSeconds;
            _busyCount++;
        }
    }

    /// <summary>Lets it learn; call it several times in a tenth of a second.</summary>
    /// <param name="factor">The profile's <see cref="WorkProfile.LatencyFactor"/>.</param>
    /// <param name="heldBack">Whether background work waits for its share.</param>
    /// <param name="now">Now.</param>
    public void Step(double factor, bool heldBack, TimeSpan now)
    {
        if (now - _stepAt < s_step)
        {
            return;
        }

        _stepAt = now;
        if (now > _pauseTo)
        {
            EndPause();
        }

        if (_busyCount < EnoughBusy)
        {
            return;
        }

        BusyLatency = _busySum / _busyCount;
        _busySum = 0;
        _busyCount = 0;
        if (QuietLatency <= 0)
        {
            return;
        }

        double over = BusyLatency / (QuietLatency * factor);
        if (over > 1)
        {
            Capacity = Math.Max(Least, Capacity * Math.Max(0.7, 1 - ((over - 1) * 0.3)));
        }
        else if (heldBack)
        {
            Capacity = Math.Min(Most, Capacity * (1 + (0.1 * (1 - over)) + 0.01));
        }
    }

    private void EndPause()
    {
        if (_quietCount >= EnoughQuiet)
        {
            double mean = _quietSum / _quietCount;
            QuietLatency = QuietLatency <= 0 ? mean : (QuietLatency * 0.7) + (mean * 0.3);
            _quietSum = 0;
            _quietCount = 0;
        }
    }
}
