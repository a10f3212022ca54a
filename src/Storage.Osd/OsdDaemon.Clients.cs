using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.Reactor;

namespace Storage.Osd;

// Clients' connections and operations.
public sealed partial class OsdDaemon
{
    private readonly Stack<ClientOperation> _operationPool = new();
    private readonly Dictionary<IConnection, ClientSession> _clients = [];
    private List<ClientOperation> _heldOperations = [];

    private void HandleOperation(ClientSession session, IConnection connection, in Message message)
    {
        OperationRequest request = OperationRequest.Decode(message.Body);
        if (request.Id.Client != connection.Peer.Id)
        {
            throw new MalformedDataException($"operation {request.Id} from {connection.Peer}");
        }

        ClientOperation operation = _operationPool.TryPop(out ClientOperation? pooled) ? pooled : new ClientOperation();
        PgId group = new(request.Pool, request.Hash);
        operation.Begin(connection, in request, group, ObjectId.Intern(request.Name, request.Hash), message.Data, _loop.Now);
        session.OnBegin();
        _underWay.Add(operation);
        _work.OnClient(message.Data.Length, _loop.Now);
        Route(operation);
    }

    private void Route(ClientOperation operation)
    {
        if (Map is null || !IsUp || (operation.MapEpoch > Map.Epoch && !Mutations.Active(Mutation.NewerMapsIgnored)))
        {
            _heldOperations.Add(operation);
            if (Map is null || operation.MapEpoch > Map.Epoch)
            {
                _monitor.Subscribe();
            }

            return;
        }

        if (Map.FindPool(operation.Group.Pool) is not { } pool)
        {
            Complete(operation, ResultCode.NoSuchPool, PgVersion.Zero, 0, default, default);
            return;
        }

        PgId id = ClusterMap.GroupOf(pool, operation.Group.Seed);
        if (Map.Locate(id).Primary != Id || !_groups.TryGetValue(id, out PlacementGroup? group))
        {
            SendMaps(operation.Connection, operation.MapEpoch);
            Complete(operation, ResultCode.WrongPrimary, PgVersion.Zero, 0, default, default);
            return;
        }

        group.Execute(operation);
    }

    private void ReleaseHeldOperations()
    {
        if (_heldOperations.Count == 0)
        {
            return;
        }

        List<ClientOperation> held = _heldOperations;
        _heldOperations = [];
        foreach (ClientOperation operation in held)
        {
            if (_running && operation.Connection.IsAlive)
            {
                Route(operation);
            }
            else
            {
                End(operation);
            }
        }
    }

    private void Complete(ClientOperation operation, ResultCode result, PgVersion version, int stepCount, ReadOnlySpan<byte> steps, ReadOnlySpan<BufferSegment> data)
    {
        if (_running)
        {
            _control.Clear();
            new OperationReply
            {
                Sequence = operation.Id.Sequence,
                Attempt = operation.Attempt,
                Result = result,
                Version = version,
                MapEpoch = Map!.Epoch,
                StepCount = stepCount,
                Steps = steps,
            }.Encode(_control);
            if (data.Length <= 1)
            {
                operation.Connection.Send(MessageType.OperationReply, _control.WrittenSpan, data.IsEmpty ? default : data[0]);
            }
            else
            {
                operation.Connection.Send(MessageType.OperationReply, _control.WrittenSpan, data);
            }
        }

        OnClientAnswered(operation);
        End(operation);
    }

    private void End(ClientOperation operation)
    {
        if (_clients.TryGetValue(operation.Connection, out ClientSession? session))
        {
            session.OnEnd();
        }

        _underWay.Remove(operation);
        operation.End();
        if (_operationPool.Count < 1024)
        {
            _operationPool.Push(operation);
        }
    }

    // One client. Its socket is not read while too many of its operations are under way.
    private sealed class ClientSession : IConnectionHandler
    {
        private readonly OsdDaemon _daemon;
        private readonly IConnection _connection;
        private int _underWay;
        private bool _paused;

        public ClientSession(OsdDaemon daemon, IConnection connection)
        {
            _daemon = daemon;
            _connection = connection;
            daemon._clients.Add(connection, this);
        }

        public void OnBegin()
        {
            if (++_underWay >= _daemon._options.OperationsPerConnection && !_paused)
            {
                _paused = true;
                _connection.PauseReceiving();
            }
        }

        public void OnEnd()
        {
            if (--_underWay <= _daemon._options.OperationsPerConnection / 2 && _paused)
            {
                // Not now: it may hand over messages at once, in the middle of what is being answered.
                _paused = false;
                _daemon._loop.Post(static state => ((ClientSession)state!).Resume(), this);
            }
        }

        private void Resume()
        {
            if (!_paused && _connection.IsAlive)
            {
                _connection.ResumeReceiving();
            }
        }

        public void OnOpened(IConnection connection)
        {
        }

        public void OnMessage(IConnection connection, in Message message)
        {
            if (!_daemon._running)
            {
                return;
            }

            switch (message.Type)
            {
                case MessageType.Operation:
                    _daemon.HandleOperation(this, connection, in message);
                    break;
                case MessageType.MapSubscribe:
                    _daemon.SendMaps(connection, MapSubscribe.Decode(message.Body).Have);
                    break;
                default:
                    throw new MalformedDataException($"message {(ushort)message.Type:x} from {connection.Peer}");
            }
        }

        public void OnDrained(IConnection connection)
        {
        }

        public void OnClosed(IConnection connection, CloseReason reason)
        {
            _daemon._accepted.Remove(connection);
            _daemon._clients.Remove(connection);
            if (_daemon._running)
            {
                foreach (PlacementGroup group in _daemon._groups.Values)
                {
                    group.ForgetClient(connection);
                }
            }
        }
    }
}
