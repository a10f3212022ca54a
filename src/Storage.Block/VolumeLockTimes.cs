namespace Storage.Block;

/// <summary>The pace of exclusive locks. Safety does not rest on it: who is too slow is fenced. It decides how soon a dead owner is given up.</summary>
public sealed record VolumeLockTimes
{
    /// <summary>How often the owner shows that it is alive, and looks whether somebody else wants the lock.</summary>
    public TimeSpan Renewal { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>How often who waits looks.</summary>
    public TimeSpan Poll { get; init; } = TimeSpan.FromMilliseconds(500);

    /// <summary>An owner that shows no sign of life for this long is fenced and its lock taken over. Longer than the cluster needs to get over the
    /// loss of an OSD that hangs, during which owners cannot renew.</summary>
    public TimeSpan Patience { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>How long an owner that let go for somebody else stays away.</summary>
    public TimeSpan Courtesy { get; init; } = TimeSpan.FromSeconds(1.5);

    /// <summary>An owner that could not renew for this long holds its writes back until it has: it may have been fenced, and entries of the
    /// blocklist do not stay for ever.</summary>
    public TimeSpan LongestUnconfirmed { get; init; } = TimeSpan.FromMinutes(10);
}
