using Storage.Cluster;
using Storage.Coding;

namespace Storage.Monitor.Core;

/// <summary>
/// The leader's side of the map: collects requests, makes one increment of all that wait, and proposes the next one only when that is
/// decided; a storm of requests costs one epoch per round trip of Raft. Soft state: a new leader starts with none of it, and its
/// OSDs repeat what they need.
/// </summary>
public sealed partial class MapLeader
{
    private readonly MapState _state;
    private readonly MonitorPolicy _defaults;
    private readonly string _name;
    private readonly Queue<MapChange> _waiting = new();
    private readonly HashSet<object> _queued = [];
    private readonly List<MapChange> _inFlight = [];
    private readonly List<(EventLevel Level, string Source, string Text)> _events = [];
    private MonitorPolicy _policy;
    private ClusterMap? _policyOf;
    private bool _isInFlight;
    private Epoch _proposed;

    /// <summary>Creates the leader's side.</summary>
    /// <param name="state">The replicated state; changed by nobody but the host's <see cref="MapState.Apply"/>.</param>
    /// <param name="policy">Rules, where the map has no settings.</param>
    /// <param name="name">This monitor's name in the cluster log.</param>
    public MapLeader(MapState state, MonitorPolicy policy, string name)
    {
        _state = state;
        _defaults = policy;
        _policy = policy;
        _name = name;
    }

    /// <summary>The newest map, or null before the cluster was founded.</summary>
    public ClusterMap? Map => _state.Map;

    /// <summary>Whether this monitor leads.</summary>
    public bool IsLeading { get; private set; }

    /// <summary>Whether a proposal waits to be decided.</summary>
    public bool IsInFlight => _isInFlight;

    /// <summary>Long work under way.</summary>
    public Status.ProgressTracker Progress { get; } = new();

    /// <summary>Requests that wait for the next proposal.</summary>
    public int Waiting => _waiting.Count;

    /// <summary>When this monitor began to lead.</summary>
    public TimeSpan LeadingSince { get; private set; }

    /// <summary>The rules where the map says nothing.</summary>
    public MonitorPolicy Defaults => _defaults;

    /// <summary>The rules in effect.</summary>
    public MonitorPolicy Policy
    {
        get
        {
            if (!ReferenceEquals(_policyOf, _state.Map))
            {
                _policyOf = _state.Map;
                _policy = _defaults.WithSettings(_policyOf);
            }

            return _policy;
        }
    }

    /// <summary>Leadership began.</summary>
    /// <param name="now">Time on the loop.</param>
    /// <param name="text">What the cluster log shall say.</param>
    public void Start(TimeSpan now, string text)
    {
        IsLeading = true;
        LeadingSince = now;
        _lastTick = now;
        _reports.Clear();
        _silenced.Clear();
        _lastSeen.Clear();
        Statistics.Clear();
        Progress.Clear();
        _events.Add((EventLevel.Info, _name, text));
    }

    /// <summary>Leadership ended. What waits fails; a proposal under way is decided later, by <see cref="Decided"/>.</summary>
    /// <param name="failure">What the waiting requests are told.</param>
    public void Stop(Rpc.RpcStatus failure)
    {
        IsLeading = false;
        _events.Clear();
        _queued.Clear();
        MapChange[] waiting = [.. _waiting];
        _waiting.Clear();
        foreach (MapChange change in waiting)
        {
            change.Complete(new ChangeOutcome(_state.Epoch, false, failure));
        }
    }

    /// <summary>The admin request that is being carried out: the changes it queues are its own. Set by the host around that.</summary>
    internal RequestCapture? Origin { get; set; }

    /// <summary>Queues a request.</summary>
    /// <param name="change">The request.</param>
    /// <param name="key">A later request with the key of one that waits is dropped as its repetition; null for none.</param>
    public void Request(MapChange change, object? key = null)
    {
        change.Origin = Origin;
        if (key is null || _queued.Add(key))
        {
            _waiting.Enqueue(change);
        }
    }

    /// <summary>Queues a line for the cluster log.</summary>
    /// <param name="level">Its weight.</param>
    /// <param name="text">One line.</param>
    public void Log(EventLevel level, string text) => _events.Add((level, _name, text));

    /// <summary>Makes the next proposal of all that waits; the host proposes it at once and tells with <see cref="Decided"/> or
    /// <see cref="NotProposed"/> what became of it.</summary>
    /// <param name="unixMilliseconds">Now.</param>
    /// <param name="founding">Makes the cluster's first map.</param>
    /// <returns>The entry's data, or null if there is nothing to propose or a proposal is under way.</returns>
    public byte[]? MakeProposal(long unixMilliseconds, Func<ClusterMap> founding)
    {
        if (!IsLeading || _isInFlight)
        {
            return null;
        }

        if (_state.Map is null)
        {
            _isInFlight = true;
            _proposed = new Epoch(1);
            ClusterMap first = founding();
            return new MapCommand(unixMilliseconds, first.Encode(), default, [.. TakeEvents(), (EventLevel.Info, _name, $"cluster {first.Fsid} founded")], []).Encode();
        }

        if (_waiting.Count == 0 && _events.Count == 0)
        {
            return null;
        }

        var draft = new MapDraft(_state.Map, unixMilliseconds);
        ClusterMapIncrement? increment = DraftAll(draft);
        if (increment is null && _events.Count == 0)
        {
            return null;
        }

        _isInFlight = true;
        _proposed = draft.Epoch;
        return new MapCommand(unixMilliseconds, default, increment?.ToArray(), [.. TakeEvents(), .. draft.Events], Answers()).Encode();
    }

    private List<(RequestId Id, ReadOnlyMemory<byte> Reply)> Answers()
    {
        var answers = new List<(RequestId, ReadOnlyMemory<byte>)>();
        foreach (MapChange change in _inFlight)
        {
            if (change is { IsUnchanged: false, Origin: { } origin })
            {
                origin.Capture(() => change.Complete(new ChangeOutcome(_proposed, true, Rpc.RpcStatus.Ok)));
                if (origin.Reply is { } reply)
                {
                    answers.Add((origin.Id, reply));
                }
            }
        }

        return answers;
    }

    /// <summary>Raft did not take the proposal: its requests wait again.</summary>
    public void NotProposed() => Decided(committed: false);

    /// <summary>The proposal under way is decided.</summary>
    /// <param name="committed">It was applied; else it is lost for certain and its requests wait again, or fail if this monitor leads
    /// no longer.</param>
    public void Decided(bool committed)
    {
        Invariant.Holds(_isInFlight);
        _isInFlight = false;
        MapChange[] changes = [.. _inFlight];
        _inFlight.Clear();
        foreach (MapChange change in changes)
        {
            if (committed)
            {
                change.Complete(new ChangeOutcome(_proposed, !change.IsUnchanged, Rpc.RpcStatus.Ok));
            }
            else if (IsLeading)
            {
                _waiting.Enqueue(change);
            }
            else
            {
                change.Complete(new ChangeOutcome(_state.Epoch, false, new Rpc.RpcStatus(Rpc.StatusCode.Unavailable, "leadership changed before the change was committed")));
            }
        }
    }

    /// <summary>The proposal under way can never be proposed.</summary>
    /// <param name="failure">What its requests are told.</param>
    public void Fail(Rpc.RpcStatus failure)
    {
        _isInFlight = false;
        MapChange[] changes = [.. _inFlight];
        _inFlight.Clear();
        foreach (MapChange change in changes)
        {
            change.Complete(new ChangeOutcome(_state.Epoch, false, failure));
        }
    }

    /// <summary>Whether the proposal under way was committed will never be known here (a snapshot took its place).</summary>
    public void Unknown()
    {
        if (!_isInFlight)
        {
            return;
        }

        // Whoever leads now knows: what was carried out is remembered by its request.
        Fail(new Rpc.RpcStatus(Rpc.StatusCode.Unavailable, "leadership changed while the change was under way"));
    }

    private (EventLevel Level, string Source, string Text)[] TakeEvents()
    {
        (EventLevel, string, string)[] events = [.. _events];
        _events.Clear();
        return events;
    }

    private ClusterMapIncrement? DraftAll(MapDraft draft)
    {
        var again = new List<MapChange>();
        var unchanged = new List<MapChange>();
        _queued.Clear();
        while (_waiting.TryDequeue(out MapChange? change))
        {
            switch (change.Draft(draft))
            {
                case Verdict.Drafted:
                    _inFlight.Add(change);
                    break;
                case Verdict.Again:
                    again.Add(change);
                    break;
                case Verdict.NoChange:
                    unchanged.Add(change);
                    break;
                case Verdict.Refused:
                    change.Complete(new ChangeOutcome(_state.Epoch, false, change.Failure));
                    break;
                default:
                    Invariant.Fail("a verdict that does not exist");
                    break;
            }
        }

        foreach (MapChange change in again)
        {
            _waiting.Enqueue(change);
        }

        ClusterMapIncrement? increment = draft.Build();
        Invariant.Holds(increment is not null || _inFlight.Count == 0);
        foreach (MapChange change in unchanged)
        {
            // Unchanged beside a draft may mean: the draft already says so. Then it is true once that is committed.
            if (increment is null)
            {
                change.Complete(new ChangeOutcome(_state.Epoch, false, Rpc.RpcStatus.Ok));
            }
            else
            {
                _inFlight.Add(change);
            }
        }

        return increment;
    }
}
