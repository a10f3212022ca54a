using Storage.Cluster;
using Storage.Rpc;

namespace Storage.Monitor.Core;

/// <summary>What became of a request when it met the draft.</summary>
public enum Verdict
{
    /// <summary>It is in the draft; it is done when the draft is committed.</summary>
    Drafted,

    /// <summary>The map already says so.</summary>
    NoChange,

    /// <summary>It must wait for the epoch after this one.</summary>
    Again,

    /// <summary>It cannot be: see the status.</summary>
    Refused,
}

/// <summary>The end of a request.</summary>
/// <param name="Epoch">Epoch of the map that holds the change, or the present one if nothing was to change.</param>
/// <param name="Changed">Whether this request changed the map.</param>
/// <param name="Failure">Why it failed; OK if it did not.</param>
public readonly record struct ChangeOutcome(Epoch Epoch, bool Changed, RpcStatus Failure);

/// <summary>A request to change the map. It is judged when the increment is made, against the newest map, and again if that
/// increment is lost.</summary>
public sealed class MapChange
{
    private readonly Func<MapDraft, MapChange, Verdict> _draft;
    private readonly Action<ChangeOutcome>? _completed;

    /// <summary>Creates a request.</summary>
    /// <param name="draft">Puts the change into the draft, or says why not. Must leave the draft alone unless it answers
    /// <see cref="Verdict.Drafted"/>, or <see cref="Verdict.Again"/> after the first of two steps.</param>
    /// <param name="completed">Told the end, once.</param>
    public MapChange(Func<MapDraft, MapChange, Verdict> draft, Action<ChangeOutcome>? completed = null)
    {
        _draft = draft;
        _completed = completed;
    }

    /// <summary>Why it was refused.</summary>
    public RpcStatus Failure { get; private set; } = RpcStatus.Ok;

    /// <summary>Refuses the request.</summary>
    /// <param name="code">Kind of failure.</param>
    /// <param name="message">One line for the operator.</param>
    /// <returns><see cref="Verdict.Refused"/>.</returns>
    public Verdict Refuse(StatusCode code, string message)
    {
        Failure = new RpcStatus(code, message);
        return Verdict.Refused;
    }

    /// <summary>Where the request came from, if its answer is to outlive the leader.</summary>
    internal RequestCapture? Origin { get; set; }

    internal bool IsUnchanged { get; private set; }

    internal Verdict Draft(MapDraft draft)
    {
        Verdict verdict = _draft(draft, this);
        IsUnchanged = verdict == Verdict.NoChange;
        return verdict;
    }

    internal void Complete(ChangeOutcome outcome) => _completed?.Invoke(outcome);
}
