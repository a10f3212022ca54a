using System.Collections.Immutable;
using Storage.Coding;

namespace Storage.Consensus;

/// <summary>The members of a group: voters decide, learners only receive the log. Immutable.</summary>
public sealed class RaftConfiguration : IEquatable<RaftConfiguration>
{
    private const byte FormatVersion = 1;

    /// <summary>The most members a configuration may have.</summary>
    public const int MaxMembers = 1024;

    /// <summary>A configuration without members: that of a node that waits to be told by a leader.</summary>
    public static RaftConfiguration Empty { get; } = new([]);

    /// <summary>Creates a configuration.</summary>
    /// <param name="voters">The voters, in any order, each once.</param>
    /// <param name="learners">The learners; none of them a voter.</param>
    /// <exception cref="ArgumentException">A node is named twice or is <see cref="NodeId.None"/>, or there are too many.</exception>
    public RaftConfiguration(IEnumerable<NodeId> voters, IEnumerable<NodeId>? learners = null)
    {
        Voters = [.. voters.Order()];
        Learners = learners is null ? [] : [.. learners.Order()];
        NodeId[] all = [.. Voters.Concat(Learners).Order()];
        if (all.Length > MaxMembers)
        {
            throw new ArgumentException($"a configuration may have {MaxMembers} members, not {all.Length}");
        }

        for (int i = 0; i < all.Length; i++)
        {
            if (all[i].IsNone || (i > 0 && all[i] == all[i - 1]))
            {
                throw new ArgumentException($"node {all[i]} is {(all[i].IsNone ? "no valid id" : "named twice")} in the configuration");
            }
        }
    }

    /// <summary>The voters, ascending.</summary>
    public ImmutableArray<NodeId> Voters { get; }

    /// <summary>The learners, ascending.</summary>
    public ImmutableArray<NodeId> Learners { get; }

    /// <summary>Voters needed for a decision.</summary>
    public int Majority => (Voters.Length / 2) + 1;

    /// <summary>Whether <paramref name="node"/> is a voter.</summary>
    /// <param name="node">The node.</param>
    /// <returns>True for a voter.</returns>
    public bool IsVoter(NodeId node) => Voters.BinarySearch(node) >= 0;

    /// <summary>Whether <paramref name="node"/> is a learner.</summary>
    /// <param name="node">The node.</param>
    /// <returns>True for a learner.</returns>
    public bool IsLearner(NodeId node) => Learners.BinarySearch(node) >= 0;

    /// <summary>Whether <paramref name="node"/> is a voter or a learner.</summary>
    /// <param name="node">The node.</param>
    /// <returns>True for a member.</returns>
    public bool Contains(NodeId node) => IsVoter(node) || IsLearner(node);

    /// <summary>
    /// Voters that only one of the two configurations has. Any majorities of configurations at distance 0 or 1 share a
    /// node, which is why one change may move at most one voter.
    /// </summary>
    /// <param name="other">The other configuration.</param>
    /// <returns>The number of voters added or removed.</returns>
    public int VoterDistance(RaftConfiguration other)
    {
        ArgumentNullException.ThrowIfNull(other);
        int distance = 0;
        foreach (NodeId node in Voters)
        {
            distance += other.IsVoter(node) ? 0 : 1;
        }

        foreach (NodeId node in other.Voters)
        {
            distance += IsVoter(node) ? 0 : 1;
        }

        return distance;
    }

    /// <summary>This configuration with <paramref name="node"/> as a voter, whatever it was before.</summary>
    /// <param name="node">The node.</param>
    /// <returns>The new configuration.</returns>
    public RaftConfiguration WithVoter(NodeId node) => new(Voters.Remove(node).Add(node), Learners.Remove(node));

    /// <summary>This configuration with <paramref name="node"/> as a learner, whatever it was before.</summary>
    /// <param name="node">The node.</param>
    /// <returns>The new configuration.</returns>
    public RaftConfiguration WithLearner(NodeId node) => new(Voters.Remove(node), Learners.Remove(node).Add(node));

    /// <summary>This configuration without <paramref name="node"/>.</summary>
    /// <param name="node">The node.</param>
    /// <returns>The new configuration.</returns>
    public RaftConfiguration Without(NodeId node) => new(Voters.Remove(node), Learners.Remove(node));

    /// <summary>Encodes: version, voters (count, 64-bit ids), learners (likewise).</summary>
    /// <param name="writer">Where to.</param>
    public void Write(WireWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.WriteByte(FormatVersion);
        WriteNodes(writer, Voters);
        WriteNodes(writer, Learners);
    }

    /// <summary>Decodes what <see cref="Write"/> wrote.</summary>
    /// <param name="reader">Where from.</param>
    /// <returns>The configuration.</returns>
    /// <exception cref="MalformedDataException">The bytes are not a configuration.</exception>
    public static RaftConfiguration Read(ref WireReader reader)
    {
        reader.ReadVersion(FormatVersion, "Raft configuration");
        NodeId[] voters = ReadNodes(ref reader);
        NodeId[] learners = ReadNodes(ref reader);
        try
        {
            return new RaftConfiguration(voters, learners);
        }
        catch (ArgumentException e)
        {
            throw new MalformedDataException("Raft configuration: " + e.Message, e);
        }
    }

    internal byte[] Encode()
    {
        var writer = new WireWriter(16 + (8 * (Voters.Length + Learners.Length)));
        Write(writer);
        return writer.ToArray();
    }

    internal static RaftConfiguration Decode(ReadOnlySpan<byte> data)
    {
        var reader = new WireReader(data);
        RaftConfiguration configuration = Read(ref reader);
        reader.ExpectEnd();
        return configuration;
    }

    /// <inheritdoc/>
    public bool Equals(RaftConfiguration? other) =>
        other is not null && Voters.AsSpan().SequenceEqual(other.Voters.AsSpan()) && Learners.AsSpan().SequenceEqual(other.Learners.AsSpan());

    /// <inheritdoc/>
    public override bool Equals(object? obj) => Equals(obj as RaftConfiguration);

    /// <inheritdoc/>
    public override int GetHashCode()
    {
        ulong hash = (ulong)Voters.Length;
        foreach (NodeId node in Voters)
        {
            hash = (hash * 31) + node.Value;
        }

        foreach (NodeId node in Learners)
        {
            hash = (hash * 37) + node.Value;
        }

        return (int)(hash ^ (hash >> 32));
    }

    /// <inheritdoc/>
    public override string ToString() =>
        Learners.IsEmpty ? $"voters [{string.Join(',', Voters)}]" : $"voters [{string.Join(',', Voters)}] learners [{string.Join(',', Learners)}]";

    private static void WriteNodes(WireWriter writer, ImmutableArray<NodeId> nodes)
    {
        writer.WriteInt32(nodes.Length);
        foreach (NodeId node in nodes)
        {
            writer.WriteUInt64(node.Value);
        }
    }

    private static NodeId[] ReadNodes(ref WireReader reader)
    {
        var nodes = new NodeId[reader.ReadCount(8)];
        for (int i = 0; i < nodes.Length; i++)
        {
            nodes[i] = new NodeId(reader.ReadUInt64());
        }

        return nodes;
    }
}
