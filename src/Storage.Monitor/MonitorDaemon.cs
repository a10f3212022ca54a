using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Storage.Cluster;
using Storage.Coding;
using Storage.Consensus;
using Storage.Messaging;
using Storage.Monitor.Core;
using Storage.Monitor.Sessions;
using Storage.Monitor.Status;
using Storage.Reactor;
using Storage.Rpc;

namespace Storage.Monitor;

/// <summary>
/// One monitor: hosts Raft and the map, serves maps to whoever subscribes, takes what OSDs report to the leader, and answers the admin
/// API. Everything runs on the loop, except <see cref="HandleAdminAsync"/>, which may be called from any thread.
/// </summary>
public sealed partial class MonitorDaemon : IDisposable
{
    private readonly IEventLoop _loop;
    private readonly ITransport _transport;
    private readonly IRaftStorage _storage;
    private readonly MonitorOptions _options;
    private readonly Random _random;
    private readonly TimeProvider _time;
    private readonly ILogger _log;
    private readonly MapState _state = new();
    private readonly MapLeader _leader;
    private readonly WireWriter _writer = new(4096);
    private readonly SortedDictionary<ulong, MonitorPeer> _peers = [];
    private readonly Dictionary<ulong, TimeSpan> _lastHeard = [];
    private readonly Dictionary<ulong, ulong> _matched = [];
    private readonly List<(ulong Index, Action<bool> Done)> _confirmedReads = [];
    private readonly Dictionary<ulong, Action<bool>> _reads = [];
    private RaftNode? _raft;
    private IListener? _listener;
    private ILoopTimer? _raftTimer;
    private ILoopTimer? _policyTimer;
    private LogPosition? _inFlight;
    private ulong _leadingTerm;
    private ulong _applied;
    private ulong _nextToken;
    private NodeId _knownLeader;
    private TimeSpan _leaderlessSince;
    private bool _isPumpDue;
    private bool _caughtUp;
    private bool _isStopped;

    /// <summary>Creates a monitor; <see cref="Start"/> starts it.</summary>
    /// <param name="loop">The loop it lives on.</param>
    /// <param name="transport">Its way to others; says who this monitor is.</param>
    /// <param name="storage">Its Raft log, formatted (<see cref="MonitorStore"/>). The daemon does not dispose it.</param>
    /// <param name="options">Settings.</param>
    /// <param name="random">Source of jitter.</param>
    /// <param name="timeProvider">Wall clock for what is shown to people and for expiry; null for the loop's.</param>
    /// <param name="logger">For the daemon's own log; null for none.</param>
    public MonitorDaemon(
        IEventLoop loop, ITransport transport, IRaftStorage storage, MonitorOptions options, Random random, TimeProvider? timeProvider = null, ILogger? logger = null)
    {
        options.Validate();
        _loop = loop;
        _transport = transport;
        _storage = storage;
        _options = options;
        _random = random;
        _time = timeProvider ?? loop.TimeProvider;
        _log = logger ?? NullLogger.Instance;
        _origin = (ulong)random.NextInt64();
        _leader = new MapLeader(_state, options.Policy, "mon." + options.Self.Name);
    }

    /// <summary>This monitor's number.</summary>
    public ulong Id => _options.Id;

    /// <summary>This monitor's name.</summary>
    public string Name => _options.Self.Name;

    /// <summary>The newest map applied here, or null before the cluster was founded.</summary>
    public ClusterMap? Map => _state.Map;

    /// <summary>Whether this monitor leads and has applied all that earlier leaders had committed.</summary>
    public bool IsLeader => _leader.IsLeading;

    /// <summary>The leader as far as known; 0 for none.</summary>
    public ulong LeaderId => _raft?.Leader.Value ?? 0;

    /// <summary>The Raft node, for status and for simulators.</summary>
    public RaftNode? Raft => _raft;

    /// <summary>The replicated state, for status and for simulators.</summary>
    public MapState State => _state;

    /// <summary>Why the monitor stopped by itself, or null. Its promises to Raft may be lost then: the process has to end.</summary>
    public Exception? Failure { get; private set; }

    /// <summary>Called on the loop once if the monitor has to stop by itself, as when its disk fails.</summary>
    public Action<Exception>? Failed { get; set; }

    /// <summary>Reads the Raft log, listens, and takes part. Called on the loop.</summary>
    /// <exception cref="InvalidOperationException">The storage was not formatted, or the cluster has removed this monitor.</exception>
    /// <exception cref="IOException">The address cannot be had.</exception>
    public void Start()
    {
        RaftStartState start = _storage.Load()
            ?? throw new InvalidOperationException($"the Raft storage of mon.{Name} is empty: format it first; a monitor that lost its disk comes back under a new id");
        _state.Restore(start.Snapshot.Data.Span);
        if (IsRemoved && !start.Snapshot.Configuration.Contains(new NodeId(_options.Id)))
        {
            throw RemovedFailure();
        }

        _applied = start.Snapshot.Index;
        _raft = new RaftNode(
            new RaftOptions { Self = new NodeId(_options.Id), ElectionTicks = _options.ElectionTicks, HeartbeatTicks = 1, MaxAppendBytes = _options.RaftAppendBytes }, start, _random);
        _leaderlessSince = _loop.Now;
        _listener = _transport.Listen(_options.BindHost is { } host ? SelfInfo.Address with { Host = host } : SelfInfo.Address, Accept);
        ReconcilePeers();
        if (_raft.Configuration.Voters.Length == 1)
        {
            _raft.Campaign();
        }

        _raftTimer = _loop.Schedule(_options.RaftTick, static self => ((MonitorDaemon)self!).OnRaftTick(), this);
        _policyTimer = _loop.Schedule(_options.PolicyInterval, static self => ((MonitorDaemon)self!).OnPolicyTick(), this);
        SchedulePump();
    }

    /// <summary>Hands leadership over if this monitor leads, then stops; for a planned end. Called on the loop.</summary>
    /// <returns>Completes when stopped, within about a second.</returns>
    public async Task StopAsync()
    {
        if (_raft is { Role: RaftRole.Leader } raft)
        {
            if (TransferLeadership())
            {
                for (int i = 0; i < 20 && raft.Role == RaftRole.Leader && !_isStopped; i++)
                {
                    await Task.Delay(_options.RaftTick, _loop.TimeProvider);
                }
            }
        }

        Stop();
    }

    /// <summary>Stops at once: nothing more is sent. Called on the loop.</summary>
    public void Stop()
    {
        if (_isStopped)
        {
            return;
        }

        _isStopped = true;
        _raftTimer?.Cancel();
        _policyTimer?.Cancel();
        _listener?.Dispose();
        foreach (MonitorPeer peer in _peers.Values)
        {
            peer.Stop();
        }

        foreach (NodeSession session in _sessions.ToArray())
        {
            session.Connection?.Close();
        }

        var failure = new RpcStatus(StatusCode.Unavailable, $"mon.{Name} stops");
        _leader.Stop(failure);
        _leader.Unknown();
        FailAdminCalls(failure);
    }

    /// <summary>Stops, if that was not done. The transport and the storage belong to the caller.</summary>
    public void Dispose() => Stop();

    private MonitorInfo SelfInfo => _state.Map?.Monitors.FirstOrDefault(monitor => monitor.Id == _options.Id) ?? _options.Self;

    private IReadOnlyList<MonitorInfo> Monitors => _state.Map is { Monitors.Count: > 0 } map ? map.Monitors : _options.Monitors;

    private long UnixMilliseconds => _time.GetUtcNow().ToUnixTimeMilliseconds();

    private string NameOf(ulong id) => Monitors.FirstOrDefault(monitor => monitor.Id == id)?.Name ?? (id == 0 ? "" : id.ToString(System.Globalization.CultureInfo.InvariantCulture));

    private void OnRaftTick()
    {
        if (_isStopped)
        {
            return;
        }

        _raftTimer = _loop.Schedule(_options.RaftTick, static self => ((MonitorDaemon)self!).OnRaftTick(), this);
        _raft!.Tick();
        SchedulePump();
        RetryAdminCalls();
    }

    private void OnPolicyTick()
    {
        if (_isStopped)
        {
            return;
        }

        _policyTimer = _loop.Schedule(_options.PolicyInterval, static self => ((MonitorDaemon)self!).OnPolicyTick(), this);
        _leader.Tick(_loop.Now, UnixMilliseconds);
        FollowMembers();
        AskClocks();
        DropHeld();
        SchedulePump();
    }

    private void SchedulePump()
    {
        // At the end of the pass: all requests that came with it share one entry and one sync.
        if (!_isPumpDue && !_isStopped)
        {
            _isPumpDue = true;
            _loop.Defer(static self => ((MonitorDaemon)self!).Pump(), this);
        }
    }

    private void Pump()
    {
        _isPumpDue = false;
        if (_isStopped)
        {
            return;
        }

        try
        {
            Propose();
            while (_raft!.HasReady && !_isStopped)
            {
                CarryOut(_raft.TakeReady());
                Propose();
            }
        }
        catch (RaftStorageFailedException e)
        {
            // Nothing is known about the disk any more: without a word to anybody this monitor ends; the quorum goes on.
            Failure = e;
            _log.LogCritical(e, "mon.{Name}: Raft storage failed, the monitor stops", Name);
            Stop();
            Failed?.Invoke(e);
        }
    }

    private void Propose()
    {
        FollowRole();
        if (!_leader.IsLeading || _leader.MakeProposal(UnixMilliseconds, Found) is not { } data)
        {
            return;
        }

        ProposeResult result = _raft!.Propose(data, out LogPosition position);
        switch (result)
        {
            case ProposeResult.Accepted:
                _inFlight = position;
                break;
            case ProposeResult.TooLarge:
                _leader.Fail(new RpcStatus(StatusCode.ResourceExhausted, $"a map change of {data.Length} bytes is too large"));
                break;
            default:
                _leader.NotProposed(); // the next tick tries again
                break;
        }
    }

    private void CarryOut(Ready ready)
    {
        Send(ready.MessagesBeforePersist);
        if (Mutations.Active(Mutation.RaftPromisesBeforePersist))
        {
            Send(ready.MessagesAfterPersist);
        }

        if (ready.MustPersist && !(Mutations.Active(Mutation.RaftVoteNotPersisted) && ready.Entries.Count == 0 && ready.Snapshot is null))
        {
            _storage.Persist(ready);
        }

        if (!Mutations.Active(Mutation.RaftPromisesBeforePersist))
        {
            Send(ready.MessagesAfterPersist);
        }

        Epoch before = _state.Epoch;
        if (ready.Snapshot is { } snapshot)
        {
            _state.Restore(Mutations.Active(Mutation.MonitorIgnoresSnapshots) ? _state.Encode() : snapshot.Data.Span);
            _applied = snapshot.Index;
            if (_inFlight is { } lost && lost.Index <= snapshot.Index)
            {
                _inFlight = null;
                _leader.Unknown();
            }
        }

        foreach (RaftEntry entry in ready.CommittedEntries)
        {
            Apply(in entry);
        }

        foreach (ReadState read in ready.ReadStates)
        {
            if (_reads.Remove(read.Token, out Action<bool>? done))
            {
                _confirmedReads.Add((read.Index, done));
            }
        }

        foreach (ulong token in ready.FailedReads)
        {
            if (_reads.Remove(token, out Action<bool>? done))
            {
                done(false);
            }
        }

        _raft!.Advance(ready);
        FollowRole();
        bool caughtUp = !IsCatchingUp;
        if (_state.Epoch != before)
        {
            ReconcilePeers();
            PublishMap();
        }
        else if (caughtUp && !_caughtUp)
        {
            PublishMap(); // some were told nothing when they subscribed
        }

        _caughtUp = caughtUp;

        CompleteReads();
        CompactLog();
        FollowLeader();
    }

    private void Apply(in RaftEntry entry)
    {
        if (entry.Kind == EntryKind.Command)
        {
            _state.Apply(entry.Data.Span);
        }

        _applied = entry.Index;
        if (_inFlight is { } position && position.Index == entry.Index)
        {
            _inFlight = null;
            _leader.Decided(position.Term == entry.Term || Mutations.Active(Mutation.MonitorConfirmsLostChanges));
        }

        // Only with an entry of its own term applied does a leader know all that was committed before it.
        if (!_leader.IsLeading && _raft!.Role == RaftRole.Leader && entry.Term == _raft.Term && _inFlight is null)
        {
            _leadingTerm = entry.Term;
            _leader.Start(_loop.Now, $"mon.{Name} leads term {entry.Term}");
            _log.LogInformation("mon.{Name} leads term {Term}", Name, entry.Term);
        }
    }

    private void FollowRole()
    {
        if (_leader.IsLeading && (_raft!.Role != RaftRole.Leader || _raft.Term != _leadingTerm))
        {
            _leader.Stop(new RpcStatus(StatusCode.Unavailable, "leadership changed before the change was proposed"));
        }
    }

    private void FollowLeader()
    {
        NodeId leader = _raft!.Leader;
        if (leader == _knownLeader)
        {
            return;
        }

        _knownLeader = leader;
        if (leader.IsNone)
        {
            _leaderlessSince = _loop.Now;
        }
        else
        {
            FlushHeld();
        }
    }

    private void CompleteReads()
    {
        for (int i = 0; i < _confirmedReads.Count;)
        {
            if (_confirmedReads[i].Index <= _applied)
            {
                Action<bool> done = _confirmedReads[i].Done;
                _confirmedReads.RemoveAt(i);
                done(true);
            }
            else
            {
                i++;
            }
        }
    }

    /// <summary>Runs an action once the applied state is known to be the newest there is.</summary>
    private void Read(Action<bool> done)
    {
        if (Mutations.Active(Mutation.MonitorReadsLocally))
        {
            done(true);
            return;
        }

        ulong token = ++_nextToken;
        _reads[token] = done;
        if (_raft!.ReadIndex(token) != ProposeResult.Accepted)
        {
            _reads.Remove(token);
            done(false);
            return;
        }

        SchedulePump();
    }

    private void CompactLog()
    {
        if (_applied > _raft!.Snapshot.Index && _applied - _raft.Snapshot.Index >= (ulong)_options.SnapshotEntries)
        {
            _storage.SaveSnapshot(_raft.Compact(_applied, _state.Encode(), (ulong)_options.RetainedEntries));
        }
    }

    private void Send(IReadOnlyList<RaftMessage> messages)
    {
        foreach (RaftMessage message in messages)
        {
            _writer.Clear();
            RaftMessageCodec.Write(_writer, message);
            bool isSent = _peers.TryGetValue(message.To.Value, out MonitorPeer? peer)
                ? peer.TrySend(MessageType.Raft, _writer.WrittenSpan)
                : TryAnswer(message.To.Value);
            if (!isSent)
            {
                _unreachable.Add(message.To);
            }
        }

        foreach (NodeId node in _unreachable)
        {
            _raft!.ReportUnreachable(node);
        }

        _unreachable.Clear();
    }

    // One that the map has dropped, and Raft has not yet; or one that this monitor's old map does not know. It comes by itself.
    private bool TryAnswer(ulong monitor)
    {
        NodeSession? session = _sessions.FirstOrDefault(other => other.Peer.Kind == EntityKind.Monitor && other.Peer.Id == monitor && other.Connection is { IsAlive: true });
        session?.Connection!.Send(MessageType.Raft, _writer.WrittenSpan);
        return session is not null;
    }

    private readonly HashSet<NodeId> _unreachable = [];

    private void OnRaftMessage(PeerIdentity from, ReadOnlySpan<byte> body)
    {
        RaftMessage message = RaftMessageCodec.Read(body);
        if (from.Kind != EntityKind.Monitor || message.From.Value != from.Id)
        {
            throw new MalformedDataException($"{from} sent a Raft message in the name of {message.From}");
        }

        if (IsGone(from.Id))
        {
            return; // anybody else may be a member: who was away knows old ones only, and has to hear the new ones
        }

        _lastHeard[from.Id] = _loop.Now;
        if (message is { Kind: RaftMessageKind.AppendResponse, Reject: false })
        {
            _matched[from.Id] = message.Index;
        }

        _raft!.Step(message);
        SchedulePump();
    }

    private ClusterMap Found() => ClusterMap.Create(_options.Fsid, UnixMilliseconds, _options.Monitors, CrushPlan.Initial());

    private void ReconcilePeers()
    {
        foreach (MonitorInfo info in Monitors)
        {
            if (info.Id != _options.Id && (!_peers.TryGetValue(info.Id, out MonitorPeer? known) || known.Info.Address != info.Address))
            {
                known?.Stop();
                var peer = new MonitorPeer(this, info, _loop, _transport, _random, _options.ReconnectPause);
                _peers[info.Id] = peer;
                peer.Start();
            }
        }

        // One that the map has dropped is needed until Raft has dropped it too.
        foreach (ulong gone in _peers.Keys.Where(id => !IsMember(id)).ToArray())
        {
            _peers[gone].Stop();
            _peers.Remove(gone);
        }
    }

    /// <summary>The quorum as this monitor sees it.</summary>
    internal QuorumView Quorum()
    {
        TimeSpan fresh = _options.RaftTick * _options.ElectionTicks * 3;
        bool leads = _leader.IsLeading;
        return new QuorumView(
            [.. Monitors.Select(monitor => monitor.Name)],
            [.. Monitors.Where(monitor => monitor.Id == _options.Id || IsHeard(monitor.Id, fresh)).Select(monitor => monitor.Name)],
            NameOf(LeaderId),
            _raft?.Term ?? 0,
            leads ? _loop.Now - _leader.LeadingSince : TimeSpan.Zero)
        {
            Skews = _clockSkew.Where(entry => Monitors.Any(monitor => monitor.Id == entry.Key)).ToDictionary(entry => NameOf(entry.Key), entry => entry.Value),
        };
    }

    private bool IsHeard(ulong monitor, TimeSpan within) => _lastHeard.TryGetValue(monitor, out TimeSpan at) && _loop.Now - at <= within;
}
