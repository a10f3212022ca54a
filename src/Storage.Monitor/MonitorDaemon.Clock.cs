using Storage.Coding;
using Storage.Messaging;
using Storage.Monitor.Sessions;

namespace Storage.Monitor;

// How far the other monitors' wall clocks are from this one's, asked by the leader. Nothing but what people read depends on wall clocks: times of
// events, and when fences and mutes end.
public sealed partial class MonitorDaemon
{
    private const byte ClockVersion = 1;
    private static readonly TimeSpan s_clockInterval = TimeSpan.FromSeconds(5);
    private readonly Dictionary<ulong, TimeSpan> _clockSkew = [];
    private TimeSpan _clocksAskedAt = TimeSpan.MinValue;

    private void AskClocks()
    {
        if (!_leader.IsLeading)
        {
            _clockSkew.Clear();
            return;
        }

        if (_clocksAskedAt != TimeSpan.MinValue && _loop.Now - _clocksAskedAt < s_clockInterval)
        {
            return;
        }

        _clocksAskedAt = _loop.Now;
        foreach (MonitorPeer peer in _peers.Values)
        {
            _writer.Clear();
            _writer.WriteByte(ClockVersion);
            _writer.WriteInt64(_loop.Now.Ticks);
            peer.TrySend(MessageType.MonitorClock, _writer.WrittenSpan);
        }
    }

    private void AnswerClock(NodeSession session, ReadOnlySpan<byte> body)
    {
        var reader = new WireReader(body);
        reader.ReadVersion(ClockVersion, "question for the clock");
        long asked = reader.ReadInt64();
        _writer.Clear();
        _writer.WriteByte(ClockVersion);
        _writer.WriteInt64(asked);
        _writer.WriteInt64(UnixMilliseconds);
        session.Connection?.Send(MessageType.MonitorClockReply, _writer.WrittenSpan);
    }

    private void OnClock(ulong peer, ReadOnlySpan<byte> body)
    {
        var reader = new WireReader(body);
        reader.ReadVersion(ClockVersion, "answer of the clock");
        TimeSpan way = _loop.Now - TimeSpan.FromTicks(reader.ReadInt64());
        long there = reader.ReadInt64();

        // Read somewhere in the middle of the way there and back; what the way leaves open is no skew.
        TimeSpan skew = TimeSpan.FromMilliseconds(there - UnixMilliseconds) + (way / 2);
        TimeSpan doubt = (way / 2) + TimeSpan.FromMilliseconds(1);
        _clockSkew[peer] = skew.Duration() <= doubt ? TimeSpan.Zero : skew - (Math.Sign(skew.Ticks) * doubt);
    }
}
