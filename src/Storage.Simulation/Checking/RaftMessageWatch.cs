using Storage.Consensus;
using Storage.Messaging;
using Storage.Simulation.Running;

namespace Storage.Simulation.Checking;

/// <summary>A monitor's promises: votes and confirmed entries leave only when its disk holds them.</summary>
internal sealed class RaftMessageWatch(string name, MemoryRaftStorage disk, Action heard) : IMessageWatch
{
    public void OnReceiving(PeerIdentity peer, in Message message)
    {
        if (message.Type == MessageType.Raft)
        {
            heard();
        }
    }

    public void OnSending(PeerIdentity peer, MessageType type, ReadOnlySpan<byte> body)
    {
        if (type != MessageType.Raft)
        {
            return;
        }

        RaftMessage message = RaftMessageCodec.Read(body);
        HardState durable = disk.HardState;
        bool kept = message.Kind switch
        {
            RaftMessageKind.Vote => durable.Term > message.Term || (durable.Term == message.Term && durable.Vote == message.From),
            RaftMessageKind.VoteResponse when !message.Reject => durable.Term > message.Term || (durable.Term == message.Term && durable.Vote == message.To),
            RaftMessageKind.AppendResponse when !message.Reject => durable.Term > message.Term || disk.DurableIndex >= message.Index,
            _ => true,
        };
        if (!kept)
        {
            throw new SimulationFailedException(
                $"{name} sends {message}, and its disk has term {durable.Term}, vote {durable.Vote}, log up to {disk.DurableIndex}");
        }
    }
}
