using System.Globalization;
using System.Runtime.InteropServices;
using Storage.Messaging;

namespace Storage.Simulation.Tracing;

/// <summary>Kind of a step of a run.</summary>
public enum TraceKind : byte
{
    /// <summary>A callback or timer of a process ran.</summary>
    Callback = 1,

    /// <summary>A message reached a process.</summary>
    Deliver = 2,

    /// <summary>A connection opened.</summary>
    Opened = 3,

    /// <summary>A connection ended.</summary>
    Closed = 4,

    /// <summary>A transaction became durable, or a Raft batch did.</summary>
    Commit = 5,

    /// <summary>A fault was injected or healed.</summary>
    Fault = 6,

    /// <summary>A client began an operation.</summary>
    Invoke = 7,

    /// <summary>A client learned the outcome of an operation.</summary>
    Complete = 8,

    /// <summary>A daemon logged something.</summary>
    Log = 9,
}

/// <summary>
/// What happened in a run, in order: a hash over all of it, which two runs of one seed share, and the last events in readable form.
/// </summary>
public sealed class EventTrace
{
    private const ulong Prime = 0x9E3779B97F4A7C15;

    private readonly Entry[] _recent;
    private readonly Dictionary<MessageType, long> _delivered = [];
    private long _recorded;
    private ulong _hash = 0xCBF29CE484222325;

    /// <summary>Creates an empty trace.</summary>
    /// <param name="keep">Events kept for <see cref="Timeline"/>.</param>
    public EventTrace(int keep = 400)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(keep);
        _recent = new Entry[keep];
    }

    /// <summary>Hash of everything that happened so far.</summary>
    public ulong Hash => _hash;

    /// <summary>Events so far, those that the timeline leaves out included.</summary>
    public long Events { get; private set; }

    /// <summary>Messages delivered so far, by type.</summary>
    public IReadOnlyDictionary<MessageType, long> Delivered => _delivered;

    /// <summary>Told the readable line of each event as it happens; null for nobody. Slow: for following one seed.</summary>
    public Action<string>? Follower { get; set; }

    /// <summary>Counts an event that only the hash remembers.</summary>
    /// <param name="kind">What it is.</param>
    /// <param name="node">Name of the process.</param>
    /// <param name="at">When.</param>
    public void Tick(TraceKind kind, string node, TimeSpan at)
    {
        Events++;
        Mix((ulong)kind);
        Mix(node);
        Mix((ulong)at.Ticks);
    }

    /// <summary>Records an event.</summary>
    /// <param name="kind">What it is.</param>
    /// <param name="node">Name of the process.</param>
    /// <param name="at">When.</param>
    /// <param name="text">The rest, for people and for the hash.</param>
    public void Add(TraceKind kind, string node, TimeSpan at, string text)
    {
        Tick(kind, node, at);
        Mix(text);
        Keep(new Entry(at, kind, node, text, default, 0, 0));
    }

    /// <summary>Records that a message was delivered.</summary>
    /// <param name="node">Name of the receiver.</param>
    /// <param name="peer">Name of the sender.</param>
    /// <param name="at">When.</param>
    /// <param name="type">What it is.</param>
    /// <param name="bodyHash">Checksum of body and data.</param>
    /// <param name="bodyLength">Bytes of the body.</param>
    /// <param name="dataLength">Bytes of data.</param>
    public void Deliver(string node, string peer, TimeSpan at, MessageType type, uint bodyHash, int bodyLength, int dataLength)
    {
        Tick(TraceKind.Deliver, node, at);
        CollectionsMarshal.GetValueRefOrAddDefault(_delivered, type, out _)++;
        Mix(peer);
        Mix(((ulong)type << 32) | bodyHash);
        Mix(((ulong)(uint)bodyLength << 32) | (uint)dataLength);
        Keep(new Entry(at, TraceKind.Deliver, node, peer, type, bodyLength, dataLength));
    }

    /// <summary>The last events, oldest first.</summary>
    /// <param name="most">The most lines.</param>
    /// <returns>One line each.</returns>
    public IEnumerable<string> Timeline(int most = int.MaxValue)
    {
        long count = Math.Min(Math.Min(_recorded, _recent.Length), most);
        for (long i = _recorded - count; i < _recorded; i++)
        {
            yield return _recent[i % _recent.Length].ToString();
        }
    }

    private void Keep(in Entry entry)
    {
        _recent[_recorded++ % _recent.Length] = entry;
        Follower?.Invoke(entry.ToString());
    }

    private void Mix(ulong value)
    {
        _hash ^= value;
        _hash *= Prime;
        _hash ^= _hash >> 29;
    }

    private void Mix(string text)
    {
        ulong sum = (ulong)text.Length;
        foreach (char c in text)
        {
            sum = (sum * 31) + c;
        }

        Mix(sum);
    }

    private readonly record struct Entry(TimeSpan At, TraceKind Kind, string Node, string Text, MessageType Type, int BodyLength, int DataLength)
    {
        public override string ToString()
        {
            string text = Kind switch
            {
                TraceKind.Deliver => string.Create(
                    CultureInfo.InvariantCulture, $"<- {Text} {MessageNames.Of(Type)} body {BodyLength}{(DataLength > 0 ? $" data {DataLength}" : "")}"),
                TraceKind.Opened => "open " + Text,
                TraceKind.Closed => "closed " + Text,
                TraceKind.Commit => "durable " + Text,
                TraceKind.Fault => "*** " + Text,
                TraceKind.Invoke => "? " + Text,
                TraceKind.Complete => "! " + Text,
                _ => Text,
            };
            return string.Create(CultureInfo.InvariantCulture, $"{At.TotalSeconds,12:F6} {Node,-9} {text}");
        }
    }
}
