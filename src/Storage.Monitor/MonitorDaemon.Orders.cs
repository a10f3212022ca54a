using Google.Protobuf;
using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.Monitor.Admin;
using Storage.Monitor.Sessions;
using Storage.Rpc;
using Storage.Rpc.Admin;

namespace Storage.Monitor;

// Orders of operators that an OSD carries out: handed on to the primary of the PG that they are about.
public sealed partial class MonitorDaemon
{
    private readonly Dictionary<ulong, Action<RpcStatus, string>> _orders = [];

    // Whether the method is an order; then the answer follows.
    private bool TryOrder(string method, ReadOnlySpan<byte> request, AdminReplyTo reply)
    {
        switch (method)
        {
            case "PgScrub":
                OrderScrubs(PgScrubRequest.Parser.ParseFrom(request), reply);
                return true;
            case "PgListInconsistent":
                PgId group = ParseGroup(PgQueryRequest.Parser.ParseFrom(request).Pgid);
                Order(PrimaryOf(group), group, PgCommand.ListInconsistent, 0, (status, text) => reply(status, new PgQueryReply { Json = text }));
                return true;
            case "PgMarkUnfoundLost":
                GiveUpUnfound(PgMarkUnfoundLostRequest.Parser.ParseFrom(request), reply);
                return true;
            case "OsdClearErrors":
                ClearErrors(OsdIdsRequest.Parser.ParseFrom(request), reply);
                return true;
            default:
                return false;
        }
    }

    private void OrderScrubs(PgScrubRequest request, AdminReplyTo reply)
    {
        PgCommand command = request.Kind switch
        {
            ScrubKind.Unspecified or ScrubKind.Shallow => PgCommand.Scrub,
            ScrubKind.Deep => PgCommand.DeepScrub,
            ScrubKind.Repair => PgCommand.Repair,
            _ => throw new RpcException(StatusCode.InvalidArgument, $"there is no kind of scrub {(int)request.Kind}"),
        };
        int argument = request.HasTrustedOsd ? request.TrustedOsd : -1;
        if (argument >= 0 && (command != PgCommand.Repair || request.Pgids.Count != 1))
        {
            throw new RpcException(StatusCode.InvalidArgument, "whose copies to trust can be said only for the repair of a single PG");
        }

        var groups = new SortedSet<PgId>(request.Pgids.Select(ParseGroup));
        foreach (int osd in request.Osds)
        {
            if (_state.Map!.FindOsd(new OsdId(osd)) is null)
            {
                throw new RpcException(StatusCode.NotFound, $"there is no osd.{osd}");
            }
        }

        long pool = request.Pool.Length == 0 ? 0
            : _state.Map!.FindPool(request.Pool)?.Id ?? throw new RpcException(StatusCode.NotFound, $"there is no pool '{request.Pool}'");
        foreach (Cluster.PoolInfo info in _state.Map!.Pools)
        {
            for (uint seed = 0; seed < (uint)info.PgCount && (request.All || request.Osds.Count > 0 || info.Id == pool); seed++)
            {
                var group = new PgId(info.Id, seed);
                if (request.All || info.Id == pool || request.Osds.Contains(_state.Map.Locate(group).Primary.Value))
                {
                    groups.Add(group);
                }
            }
        }

        var result = new PgScrubReply();
        int open = groups.Count;
        if (open == 0)
        {
            reply(RpcStatus.Ok, result);
        }

        if (argument >= 0 && groups.FirstOrDefault(group => !_state.Map.Locate(group).Acting.Contains(new OsdId(argument))) is { Pool: > 0 } stranger)
        {
            throw new RpcException(StatusCode.InvalidArgument, $"osd.{argument} holds no copy of pg {stranger}, which is on {string.Join(", ", _state.Map.Locate(stranger).Acting)}");
        }

        foreach (PgId group in groups)
        {
            OsdId primary = _state.Map.Locate(group).Primary;
            Order(primary, group, command, argument, (status, _) =>
            {
                if (status.Code == StatusCode.Ok)
                {
                    result.Instructed.Add(group.ToString());
                }
                else
                {
                    result.Failures.Add($"{group}: {status.Message}");
                }

                if (--open == 0)
                {
                    reply(groups.Count == 1 ? status : RpcStatus.Ok, result);
                }
            });
        }
    }

    private void GiveUpUnfound(PgMarkUnfoundLostRequest request, AdminReplyTo reply)
    {
        PgCommand command = request.Mode switch
        {
            UnfoundMode.Revert => PgCommand.RevertUnfound,
            UnfoundMode.Delete => PgCommand.DeleteUnfound,
            _ => throw new RpcException(StatusCode.InvalidArgument, "say what becomes of the objects: revert or delete"),
        };
        PgId group = ParseGroup(request.Pgid);
        if (!request.Confirmed)
        {
            long unfound = _leader.Statistics.Views(_state.Map!, _loop.Now, _leader.Policy.StaleAfter).Where(view => view.Group == group).Sum(view => view.Report?.UnfoundObjects ?? 0);
            throw new RpcException(
                StatusCode.FailedPrecondition,
                $"this gives up acknowledged writes for good: {unfound} objects of pg {group} have no known copy of their newest version, and {(request.Mode == UnfoundMode.Revert ? "go back to an older one, or away where there is none" : "are removed")}. "
                + $"'pg query {group}' names them and the OSDs that may have them: start those; else confirm (--yes-i-really-mean-it)");
        }

        Order(PrimaryOf(group), group, command, 0, (status, text) => reply(status, new ChangeReply { Epoch = _state.Epoch.Value, Changed = true, Message = text }));
    }

    private void ClearErrors(OsdIdsRequest request, AdminReplyTo reply)
    {
        int[] osds = [.. request.Osds.Distinct()];
        var result = new OsdIdsReply { Epoch = _state.Epoch.Value };
        RpcStatus worst = RpcStatus.Ok;
        int open = osds.Length;
        if (open == 0)
        {
            reply(RpcStatus.Ok, result);
        }

        foreach (int osd in osds)
        {
            Order(new OsdId(osd), default, PgCommand.ClearErrors, 0, (status, _) =>
            {
                if (status.Code == StatusCode.Ok)
                {
                    result.Changed.Add(osd);
                }
                else
                {
                    worst = status;
                }

                if (--open == 0)
                {
                    reply(worst, result);
                }
            });
        }
    }

    private PgId ParseGroup(string text) => !PgId.TryParse(text, out PgId group)
        ? throw new RpcException(StatusCode.InvalidArgument, $"'{text}' is no PG (as in 1.2a)")
        : !_state.Map!.Contains(group) ? throw new RpcException(StatusCode.NotFound, $"there is no PG {group}")
        : group;

    private OsdId PrimaryOf(PgId group) => _state.Map!.Locate(group).Primary;

    private void Order(OsdId target, PgId group, PgCommand command, int argument, Action<RpcStatus, string> answer)
    {
        if (_state.Map!.FindOsd(target) is not { IsUp: true } osd)
        {
            answer(new RpcStatus(StatusCode.FailedPrecondition, !target.IsSome ? $"PG {group} has no primary that is up"
                : _state.Map.FindOsd(target) is null ? $"{target} does not exist" : $"{target} is not up"), "");
            return;
        }

        ulong id = ++_nextToken;
        _orders[id] = answer;
        var writer = new WireWriter();
        writer.WriteByte(1);
        writer.WriteUInt64(id);
        writer.WriteInt64(group.Pool);
        writer.WriteUInt32(group.Seed);
        writer.WriteByte((byte)command);
        writer.WriteInt32(argument);
        if (_osdSessions.TryGetValue((ulong)target.Value, out NodeSession? session) && session.Connection is { IsAlive: true } connection)
        {
            connection.Send(MessageType.PgCommand, writer.WrittenSpan);
        }
        else
        {
            // Its session is with another monitor: knock at its own door.
            _transport.Connect(osd.Address, new PgQuerySession(this)).Send(MessageType.PgCommand, writer.WrittenSpan);
        }

        _loop.Schedule(_options.AdminTimeout / 2, _ => EndOrder(id, new RpcStatus(StatusCode.Unavailable, $"{target} did not answer"), ""), null);
    }

    private void OnPgCommandReply(ReadOnlySpan<byte> body)
    {
        var reader = new WireReader(body);
        reader.ReadVersion(1, "PG command reply");
        ulong id = reader.ReadUInt64();
        bool done = reader.ReadBoolean();
        string text = reader.ReadString();
        EndOrder(id, done ? RpcStatus.Ok : new RpcStatus(StatusCode.FailedPrecondition, text), text);
    }

    private void EndOrder(ulong id, RpcStatus status, string text)
    {
        if (_orders.Remove(id, out Action<RpcStatus, string>? answer))
        {
            answer(status, text);
        }
    }
}
