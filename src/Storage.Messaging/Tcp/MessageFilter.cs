using Storage.Reactor;

namespace Storage.Messaging.Tcp;

/// <summary>Directions of traffic, seen from this process.</summary>
[Flags]
public enum CutDirections
{
    /// <summary>Neither.</summary>
    None = 0,

    /// <summary>What the peer sends.</summary>
    Inbound = 1,

    /// <summary>What this process sends.</summary>
    Outbound = 2,

    /// <summary>Both.</summary>
    Both = Inbound | Outbound,
}

/// <summary>Which peers a cut is about.</summary>
/// <param name="Kind">Kind of node; null for every peer, also one that has not said who it is.</param>
/// <param name="Id">Number within its kind; null for all of the kind.</param>
public readonly record struct PeerSelector(EntityKind? Kind, ulong? Id)
{
    /// <summary>Every peer.</summary>
    public static PeerSelector Everyone => default;

    /// <summary>Whether a peer is meant.</summary>
    /// <param name="peer">The peer; the default value while it is unknown.</param>
    /// <returns>True if it is.</returns>
    public bool Matches(in PeerIdentity peer) => Kind is null || (Kind == peer.Kind && (Id is null || Id == peer.Id));

    /// <inheritdoc/>
    public override string ToString() => Kind is not { } kind ? "everyone"
        : Id is { } id ? new PeerIdentity(kind, id, 0).ToString() : $"every {kind.ToString().ToLowerInvariant()}";
}

/// <summary>One cut in force.</summary>
/// <param name="Name">By which it is healed.</param>
/// <param name="Peer">Who is cut off.</param>
/// <param name="Directions">In which directions.</param>
/// <param name="Ends">On the loop's clock.</param>
public sealed record MessageCut(string Name, PeerSelector Peer, CutDirections Directions, TimeSpan Ends);

/// <summary>
/// Cuts this process off from chosen peers, for tests of failures on real processes. A cut is silent, as a pulled cable is: connections
/// stand and carry nothing, new ones are never greeted, nobody is told. What was under way arrives late if the cut is short; a
/// connection that carries nothing for as long as the kernel would wait for an acknowledgement breaks. Every cut ends by itself. All
/// members are called on the loop.
/// </summary>
public sealed class MessageFilter
{
    private readonly IEventLoop _loop;
    private readonly List<(MessageCut Cut, ILoopTimer Timer)> _cuts = [];
    private readonly HashSet<TcpConnection> _connections = [];

    /// <summary>Creates a filter without cuts.</summary>
    /// <param name="loop">The transport's loop.</param>
    public MessageFilter(IEventLoop loop) => _loop = loop;

    /// <summary>The cuts in force.</summary>
    public IEnumerable<MessageCut> Cuts => _cuts.Select(entry => entry.Cut);

    /// <summary>Cuts peers off; a cut of the same name is replaced.</summary>
    /// <param name="name">By which it may be healed early.</param>
    /// <param name="peer">Who.</param>
    /// <param name="directions">In which directions.</param>
    /// <param name="duration">When it ends by itself.</param>
    public void Cut(string name, PeerSelector peer, CutDirections directions, TimeSpan duration)
    {
        RemoveRule(name);
        var cut = new MessageCut(name, peer, directions, _loop.Now + duration);
        _cuts.Add((cut, _loop.Schedule(duration, _ => Heal(name), null)));
        Apply();
    }

    /// <summary>Ends a cut.</summary>
    /// <param name="name">Its name; null ends all.</param>
    /// <returns>Whether there was one.</returns>
    public bool Heal(string? name)
    {
        bool found = RemoveRule(name);
        if (found)
        {
            Apply();
        }

        return found;
    }

    internal void Add(TcpConnection connection) => _connections.Add(connection);

    internal void Remove(TcpConnection connection) => _connections.Remove(connection);

    /// <summary>The directions in which a peer is cut off now.</summary>
    internal CutDirections Held(in PeerIdentity peer)
    {
        CutDirections held = CutDirections.None;
        foreach ((MessageCut cut, _) in _cuts)
        {
            if (cut.Peer.Matches(peer))
            {
                held |= cut.Directions;
            }
        }

        return held;
    }

    private bool RemoveRule(string? name)
    {
        bool found = false;
        for (int i = _cuts.Count - 1; i >= 0; i--)
        {
            if (name is null || _cuts[i].Cut.Name == name)
            {
                _cuts[i].Timer.Cancel();
                _cuts.RemoveAt(i);
                found = true;
            }
        }

        return found;
    }

    // Connections come and go while handlers run.
    private void Apply()
    {
        foreach (TcpConnection connection in _connections.ToArray())
        {
            connection.ApplyFilter();
        }
    }
}
