using Google.Protobuf;
using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.Monitor.Admin;
using Storage.Monitor.Core;
using Storage.Monitor.Sessions;
using Storage.Rpc;
using Storage.Rpc.Admin;

namespace Storage.Monitor;

// The admin API: answered by the leader after it made sure that it still leads; a follower hands the raw request on.
public sealed partial class MonitorDaemon
{
    private const byte PgQueryVersion = 1;

    private const int MostCarriedKept = 1024;

    // Asked by clients through the messenger, and handed on to the leader like the API's.
    private const string NewestEpochMethod = "NewestEpoch";

    private readonly Dictionary<ulong, AdminCall> _adminCalls = [];
    private readonly ulong _origin;
    private readonly Dictionary<RequestId, CarriedRequest> _carried = [];
    private readonly Queue<RequestId> _carriedOrder = new();
    private readonly Dictionary<ulong, AdminReplyTo> _pgQueries = [];
    private AdminChanges? _changes;
    private AdminQueries? _queries;
    private ulong _nextCall;

    /// <summary>Answers a request of the admin API (admin.proto). May be called from any thread; posts to the loop once.</summary>
    /// <param name="request">The request. One that names itself is carried out once, however often and wherever it comes.</param>
    /// <param name="cancellation">Gives the wait up; a change that is under way may still take effect.</param>
    /// <returns>The encoded reply.</returns>
    /// <exception cref="RpcException">The request failed, or there is no quorum.</exception>
    public async ValueTask<ReadOnlyMemory<byte>> HandleAdminAsync(AdminRequest request, CancellationToken cancellation)
    {
        // Continuations must not run inside the loop's callbacks: the caller may be a web server's thread.
        var completion = new TaskCompletionSource<ReadOnlyMemory<byte>>(TaskCreationOptions.RunContinuationsAsynchronously);
        var call = new AdminCall(request, (status, reply) =>
        {
            if (status.Code == StatusCode.Ok)
            {
                completion.TrySetResult(reply);
            }
            else
            {
                completion.TrySetException(new RpcException(status));
            }
        });
        _loop.Post(static state => ((BeginState)state!).Run(), new BeginState(this, call));
        using CancellationTokenRegistration registration = cancellation.Register(
            static state => ((TaskCompletionSource<ReadOnlyMemory<byte>>)state!).TrySetCanceled(), completion);
        return await completion.Task;
    }

    private void Begin(AdminCall call)
    {
        call.Deadline = _loop.Now + _options.AdminTimeout;
        if (_isStopped || _raft is null)
        {
            call.Complete(new RpcStatus(StatusCode.Unavailable, $"mon.{Name} does not run"), default);
            return;
        }

        if (call.Method == "Ready")
        {
            call.Complete(IsInTouch ? RpcStatus.Ok : new RpcStatus(StatusCode.Unavailable, $"mon.{Name} is not in touch with a leader"), default);
            return;
        }

        call.Id = ++_nextCall;
        call.Request = call.Named ?? new RequestId(_origin, call.Id);
        _adminCalls[call.Id] = call;
        Route(call);
    }

    private void Route(AdminCall call)
    {
        call.SentTo = 0;
        call.IsAtLeader = false;
        if (_raft!.Role == Consensus.RaftRole.Leader)
        {
            call.IsAtLeader = true;
            ExecuteOnce(call.Request, call.Method, call.Body, (status, reply) => Finish(call, status, reply));
            SchedulePump();
            return;
        }

        if (_peers.TryGetValue(_raft.Leader.Value, out MonitorPeer? peer) && peer.IsOpen)
        {
            _writer.Clear();
            new AdminRequestMessage(call.Id, call.Request, call.Method, call.Body).Encode(_writer);
            if (peer.TrySend(MessageType.AdminRequest, _writer.WrittenSpan))
            {
                call.SentTo = peer.Info.Id;
                call.WasSent = true;
            }
        }
    }

    private void RetryAdminCalls()
    {
        if (_adminCalls.Count == 0)
        {
            return;
        }

        bool hopeless = _raft!.Leader.IsNone && _loop.Now - _leaderlessSince > _options.AdminTimeout / 3;
        foreach (AdminCall call in _adminCalls.Values.ToArray())
        {
            if (_loop.Now >= call.Deadline || (hopeless && !call.IsAtLeader && call.SentTo == 0))
            {
                GiveUp(call);
            }
            else if (!call.IsAtLeader && (call.SentTo == 0 || call.SentTo != _raft.Leader.Value))
            {
                Route(call);
            }
        }
    }

    private void GiveUp(AdminCall call)
    {
        _adminCalls.Remove(call.Id);
        if (call.Method == "MonStatus")
        {
            call.Complete(RpcStatus.Ok, MonStatus().ToByteArray()); // who is there is worth knowing above all without a quorum
            return;
        }

        // Somebody may have been given it who carries it out however late; that a later one cannot overtake it is not promised either.
        const string Unknown = "a change may or may not have been made, and may still be: 'storage log last' tells";
        string reachable = $"reachable monitors are {string.Join(", ", Quorum().InQuorum.Select(name => "mon." + name))} of {Monitors.Count}";
        call.Complete(
            !call.WasSent && (_raft!.Leader.IsNone || !call.IsAtLeader)
                ? new RpcStatus(StatusCode.Unavailable, $"no quorum: {reachable}")
                : new RpcStatus(
                    StatusCode.DeadlineExceeded,
                    _raft!.Leader.IsNone
                        ? $"no quorum: {reachable}; the last leader was given {call.Method} and did not answer; {Unknown}"
                        : $"mon.{NameOf(_raft.Leader.Value)} did not answer {call.Method} in time; {Unknown}"),
            default);
    }

    private void ResendAdminCalls(ulong peer)
    {
        foreach (AdminCall call in _adminCalls.Values)
        {
            if (call.SentTo == peer)
            {
                call.SentTo = 0;
            }
        }
    }

    private void Finish(AdminCall call, RpcStatus status, ReadOnlyMemory<byte> reply)
    {
        if (status.Code == StatusCode.Unavailable && _loop.Now < call.Deadline && !_isStopped)
        {
            call.IsAtLeader = false; // the next tick takes it to the next leader, who knows whether it took effect
            call.SentTo = 0;
            return;
        }

        if (_adminCalls.Remove(call.Id))
        {
            call.Complete(status, reply);
        }
    }

    private void OnAdminReply(AdminReplyMessage reply)
    {
        if (_adminCalls.TryGetValue(reply.Correlation, out AdminCall? call) && call.SentTo != 0)
        {
            Finish(call, reply.Status, reply.Reply);
        }
    }

    private void OnForwardedAdmin(NodeSession session, AdminRequestMessage request) => ExecuteOnce(request.Id, request.Method, request.Body, (status, reply) =>
    {
        var writer = new WireWriter(64 + reply.Length);
        new AdminReplyMessage(request.Correlation, status, reply).Encode(writer);
        session.Connection?.Send(MessageType.AdminReply, writer.WrittenSpan);
    });

    /// <summary>Carries a request out on the leader, after it made sure that it leads. A change that comes again, as by another monitor or
    /// because a connection broke, while the first one is under way or after it: the first one counts, and answers both.</summary>
    private void ExecuteOnce(RequestId id, string method, ReadOnlyMemory<byte> request, Action<RpcStatus, ReadOnlyMemory<byte>> answer)
    {
        bool isQuery = method == NewestEpochMethod || AdminQueries.IsQuery(method);
        if (!isQuery && _carried.TryGetValue(id, out CarriedRequest? known))
        {
            if (known.Answer is var (status, reply))
            {
                answer(status, reply);
            }
            else
            {
                known.Asked += answer;
            }

            return;
        }

        var carried = new CarriedRequest(answer);
        if (!isQuery)
        {
            _carried.Add(id, carried);
            _carriedOrder.Enqueue(id);
            if (_carriedOrder.Count > MostCarriedKept)
            {
                _carried.Remove(_carriedOrder.Dequeue());
            }
        }

        Read(confirmed =>
        {
            if (confirmed && _leader.IsLeading)
            {
                Execute(id, method, request, Answer);
            }
            else
            {
                Answer(new RpcStatus(StatusCode.Unavailable, $"mon.{Name} does not lead"), default);
            }
        });

        void Answer(RpcStatus status, ReadOnlyMemory<byte> reply)
        {
            if (status.Code == StatusCode.Unavailable)
            {
                _carried.Remove(id); // it took no effect; another time it may
            }
            else
            {
                carried.Answer = (status, reply);
            }

            carried.Asked(status, reply);
        }
    }

    private void FailAdminCalls(RpcStatus failure)
    {
        foreach (AdminCall call in _adminCalls.Values.ToArray())
        {
            call.Complete(failure, default);
        }

        _adminCalls.Clear();
    }

    /// <summary>Carries out a request on the leader, whose state is the newest there is.</summary>
    private void Execute(RequestId id, string method, ReadOnlyMemory<byte> request, Action<RpcStatus, ReadOnlyMemory<byte>> answer)
    {
        var origin = new RequestCapture(id);
        AdminReplyTo reply = (status, message) =>
        {
            byte[] bytes = status.Code == StatusCode.Ok && message is not null ? message.ToByteArray() : [];
            if (!origin.TryTake(bytes))
            {
                answer(status, bytes);
            }
        };
        _changes ??= new AdminChanges(_leader, () => _loop.Now, Quorum);
        _queries ??= new AdminQueries(_state, _leader, Quorum, () => _loop.Now);
        try
        {
            if (_state.Map is null)
            {
                reply(new RpcStatus(StatusCode.Unavailable, "the cluster is being founded"), null);
            }
            else if (method == "MonStatus")
            {
                reply(RpcStatus.Ok, MonStatus());
            }
            else if (method == NewestEpochMethod)
            {
                reply(RpcStatus.Ok, new ChangeReply { Epoch = _state.Epoch.Value });
            }
            else if (method == "PgQuery")
            {
                QueryGroup(PgQueryRequest.Parser.ParseFrom(request.Span).Pgid, reply);
            }
            else if (TryOrder(method, request.Span, reply))
            {
                // The answer comes with the OSD's.
            }
            else if (_queries.Execute(method, request.Span) is { } message)
            {
                reply(RpcStatus.Ok, message);
            }
            else if (_state.FindAnswer(id) is { } known)
            {
                answer(RpcStatus.Ok, known); // carried out under an earlier leader
            }
            else if (TryChange(origin, method, request.Span, reply))
            {
                SchedulePump();
            }
            else
            {
                reply(new RpcStatus(StatusCode.Unimplemented, $"there is no method '{method}'"), null);
            }
        }
        catch (RpcException e)
        {
            reply(e.Status, null);
        }
        catch (InvalidProtocolBufferException e)
        {
            reply(new RpcStatus(StatusCode.InvalidArgument, $"the request for {method} is malformed: {e.Message}"), null);
        }
    }

    private bool TryChange(RequestCapture origin, string method, ReadOnlySpan<byte> request, AdminReplyTo reply)
    {
        _leader.Origin = origin;
        try
        {
            return _changes!.TryExecute(method, request, reply);
        }
        finally
        {
            _leader.Origin = null;
        }
    }

    private MonStatusReply MonStatus()
    {
        Status.QuorumView view = Quorum();
        bool leads = _raft!.Role == Consensus.RaftRole.Leader;
        var reply = new MonStatusReply
        {
            Fsid = _options.Fsid.ToString(),
            Name = Name,
            Leader = view.Leader,
            Term = view.Term,
            Epoch = _state.Epoch.Value,
            CommitIndex = _raft.CommitIndex,
            LastIndex = _raft.LastIndex,
        };
        if (view.Leader.Length > 0)
        {
            reply.Quorum.Add(view.InQuorum);
        }

        foreach (Cluster.MonitorInfo monitor in Monitors)
        {
            var node = new Consensus.NodeId(monitor.Id);
            ulong matched = monitor.Id == _options.Id ? _raft.LastIndex : _matched.GetValueOrDefault(monitor.Id);
            reply.Monitors.Add(new Rpc.Admin.MonitorInfo
            {
                Name = monitor.Name,
                Id = (uint)monitor.Id,
                Address = monitor.Address.ToString(),
                AdminAddress = monitor.AdminAddress.ToString(),
                State = !view.InQuorum.Contains(monitor.Name) ? MonitorState.Down
                    : node == _raft.Leader ? MonitorState.Leader
                    : _raft.Configuration.IsLearner(node) ? MonitorState.Learner
                    : monitor.Id == _options.Id && _raft.Role != Consensus.RaftRole.Follower ? MonitorState.Candidate
                    : MonitorState.Follower,
                LagEntries = leads && matched < _raft.LastIndex ? _raft.LastIndex - matched : 0,
            });
        }

        return reply;
    }

    private void QueryGroup(string text, AdminReplyTo reply)
    {
        if (!PgId.TryParse(text, out PgId group))
        {
            throw new RpcException(StatusCode.InvalidArgument, $"'{text}' is no PG (as in 1.2a)");
        }

        if (!_state.Map!.Contains(group))
        {
            throw new RpcException(StatusCode.NotFound, $"there is no PG {group}");
        }

        OsdId primary = _state.Map.Locate(group).Primary;
        if (_state.Map.FindOsd(primary) is not { IsUp: true } osd)
        {
            throw new RpcException(StatusCode.FailedPrecondition, $"PG {group} has no primary that is up: none of its OSDs is");
        }

        ulong id = ++_nextToken;
        _pgQueries[id] = reply;
        var writer = new WireWriter();
        writer.WriteByte(PgQueryVersion);
        writer.WriteUInt64(id);
        writer.WriteInt64(group.Pool);
        writer.WriteUInt32(group.Seed);
        if (_osdSessions.TryGetValue((ulong)primary.Value, out NodeSession? session) && session.Connection is { IsAlive: true } connection)
        {
            connection.Send(MessageType.PgQuery, writer.WrittenSpan);
        }
        else
        {
            // Its session is with another monitor: knock at its own door.
            _transport.Connect(osd.Address, new PgQuerySession(this)).Send(MessageType.PgQuery, writer.WrittenSpan);
        }

        _loop.Schedule(_options.AdminTimeout / 2, _ => EndPgQuery(id, new RpcStatus(StatusCode.Unavailable, $"{primary} did not answer about PG {group}"), null), null);
    }

    private void OnPgQueryReply(ReadOnlySpan<byte> body)
    {
        var reader = new WireReader(body);
        reader.ReadVersion(PgQueryVersion, "PG query reply");
        ulong id = reader.ReadUInt64();
        bool found = reader.ReadBoolean();
        string json = reader.ReadString();
        EndPgQuery(id, found ? RpcStatus.Ok : new RpcStatus(StatusCode.NotFound, "the primary does not hold that PG (yet)"), new PgQueryReply { Json = json });
    }

    private void EndPgQuery(ulong id, RpcStatus status, PgQueryReply? message)
    {
        if (_pgQueries.Remove(id, out AdminReplyTo? reply))
        {
            reply(status, message);
        }
    }

    private sealed class AdminCall(AdminRequest request, Action<RpcStatus, ReadOnlyMemory<byte>> complete)
    {
        /// <summary>Its number at this monitor.</summary>
        public ulong Id { get; set; }

        /// <summary>The client's name for it.</summary>
        public RequestId? Named { get; } = RequestId.Of(request.Id);

        /// <summary>Its name to all monitors.</summary>
        public RequestId Request { get; set; }

        public string Method { get; } = request.Method;

        public ReadOnlyMemory<byte> Body { get; } = request.Body;

        public Action<RpcStatus, ReadOnlyMemory<byte>> Complete { get; } = complete;

        public TimeSpan Deadline { get; set; }

        /// <summary>The monitor that works on it; 0 while it waits for a leader.</summary>
        public ulong SentTo { get; set; }

        public bool IsAtLeader { get; set; }

        /// <summary>Some monitor was given it, and may carry it out however late that monitor hears of it.</summary>
        public bool WasSent { get; set; }
    }

    private sealed class CarriedRequest(Action<RpcStatus, ReadOnlyMemory<byte>> asked)
    {
        /// <summary>All who asked.</summary>
        public Action<RpcStatus, ReadOnlyMemory<byte>> Asked { get; set; } = asked;

        public (RpcStatus Status, ReadOnlyMemory<byte> Reply)? Answer { get; set; }
    }

    private sealed class BeginState(MonitorDaemon daemon, AdminCall call)
    {
        public void Run() => daemon.Begin(call);
    }

    private sealed class PgQuerySession(MonitorDaemon daemon) : IConnectionHandler
    {
        public void OnOpened(IConnection connection)
        {
        }

        public void OnMessage(IConnection connection, in Message message)
        {
            if (message.Type == MessageType.PgQueryReply)
            {
                daemon.OnPgQueryReply(message.Body);
                connection.Close();
            }
            else if (message.Type == MessageType.PgCommandReply)
            {
                daemon.OnPgCommandReply(message.Body);
                connection.Close();
            }
        }

        public void OnDrained(IConnection connection)
        {
        }

        public void OnClosed(IConnection connection, CloseReason reason)
        {
        }
    }
}
