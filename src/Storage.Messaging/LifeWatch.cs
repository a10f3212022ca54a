namespace Storage.Messaging;

/// <summary>
/// Tells when a node that hangs or was cut off is to be left for another one: its connection neither breaks nor says anything. Times are those of one
/// event loop; whoever holds the watch looks at it when <see cref="Due"/> has come, or now and then.
/// </summary>
/// <param name="pingAfter">Quiet time after which the node is asked for a sign of life.</param>
/// <param name="silence">How long it may take to be connected, and to answer.</param>
public struct LifeWatch(TimeSpan pingAfter, TimeSpan silence)
{
    private bool _isWaiting;
    private TimeSpan _since;

    /// <summary>Whether an answer is waited for: to a ping, or to the attempt to connect.</summary>
    public readonly bool IsWaiting => _isWaiting;

    /// <summary>When there is something to do at the earliest.</summary>
    public readonly TimeSpan Due => _since + (_isWaiting ? silence : pingAfter);

    /// <summary>The node was dialled or pinged: from now on it has to answer.</summary>
    /// <param name="now">The loop's time.</param>
    public void Asked(TimeSpan now) => (_isWaiting, _since) = (true, now);

    /// <summary>It took the connection, or said something.</summary>
    /// <param name="now">The loop's time.</param>
    public void Heard(TimeSpan now) => (_isWaiting, _since) = (false, now);

    /// <summary>Whether it has been quiet for so long that a ping is due.</summary>
    /// <param name="now">The loop's time.</param>
    public readonly bool IsPingDue(TimeSpan now) => !_isWaiting && now >= Due;

    /// <summary>Whether it has not answered in time.</summary>
    /// <param name="now">The loop's time.</param>
    public readonly bool IsSilent(TimeSpan now) => _isWaiting && now >= Due;
}
