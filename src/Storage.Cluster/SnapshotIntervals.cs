using System.Collections.Immutable;
using Storage.Coding;

namespace Storage.Cluster;

/// <summary>A set of snapshot ids as ascending runs: ids are given out one after the other and go in bulk, so the set stays small.
/// Immutable; equal by content. Ids are 1 to <see cref="LargestId"/>.</summary>
public sealed class SnapshotIntervals : IEquatable<SnapshotIntervals>
{
    /// <summary>The largest snapshot id; the numbers above it have other uses in <see cref="ObjectId"/>.</summary>
    public const ulong LargestId = (1UL << 62) - 1;

    private readonly ImmutableArray<(ulong First, ulong Last)> _runs;

    private SnapshotIntervals(ImmutableArray<(ulong First, ulong Last)> runs) => _runs = runs;

    /// <summary>No ids.</summary>
    public static SnapshotIntervals Empty { get; } = new([]);

    /// <summary>Whether there are none.</summary>
    public bool IsEmpty => _runs.IsEmpty;

    /// <summary>Number of runs.</summary>
    public int RunCount => _runs.Length;

    /// <summary>Number of ids.</summary>
    public ulong Count
    {
        get
        {
            ulong count = 0;
            foreach ((ulong first, ulong last) in _runs)
            {
                count += last - first + 1;
            }

            return count;
        }
    }

    /// <summary>The runs, ascending; both ends belong to a run, and at least one id lies between two runs.</summary>
    public ReadOnlySpan<(ulong First, ulong Last)> Runs => _runs.AsSpan();

    /// <summary>Makes a set.</summary>
    /// <param name="ids">Ids in any order.</param>
    /// <returns>The set.</returns>
    public static SnapshotIntervals Of(params IEnumerable<ulong> ids)
    {
        SnapshotIntervals set = Empty;
        foreach (ulong id in ids)
        {
            set = set.Add(id);
        }

        return set;
    }

    /// <summary>Whether an id is in the set.</summary>
    /// <param name="id">The id.</param>
    /// <returns>True if so.</returns>
    public bool Contains(ulong id)
    {
        int at = IndexOf(id);
        return at < _runs.Length && _runs[at].First <= id;
    }

    /// <summary>The set with one more id.</summary>
    /// <param name="id">The id.</param>
    /// <returns>The set; this one if it has the id.</returns>
    public SnapshotIntervals Add(ulong id)
    {
        ArgumentOutOfRangeException.ThrowIfZero(id);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(id, LargestId);
        int at = IndexOf(id);
        if (at < _runs.Length && _runs[at].First <= id)
        {
            return this;
        }

        bool joinsBefore = at > 0 && _runs[at - 1].Last + 1 == id;
        bool joinsAfter = at < _runs.Length && _runs[at].First == id + 1;
        return new SnapshotIntervals((joinsBefore, joinsAfter) switch
        {
            (true, true) => _runs.SetItem(at - 1, (_runs[at - 1].First, _runs[at].Last)).RemoveAt(at),
            (true, false) => _runs.SetItem(at - 1, (_runs[at - 1].First, id)),
            (false, true) => _runs.SetItem(at, (id, _runs[at].Last)),
            _ => _runs.Insert(at, (id, id)),
        });
    }

    /// <summary>The set without an id.</summary>
    /// <param name="id">The id.</param>
    /// <returns>The set; this one if it lacks the id.</returns>
    public SnapshotIntervals Remove(ulong id)
    {
        int at = IndexOf(id);
        if (at == _runs.Length || _runs[at].First > id)
        {
            return this;
        }

        (ulong first, ulong last) = _runs[at];
        ImmutableArray<(ulong, ulong)> runs = _runs.RemoveAt(at);
        if (last > id)
        {
            runs = runs.Insert(at, (id + 1, last));
        }

        return new SnapshotIntervals(first < id ? runs.Insert(at, (first, id - 1)) : runs);
    }

    /// <summary>The ids that are in both sets.</summary>
    /// <param name="other">The other one.</param>
    /// <returns>The set.</returns>
    public SnapshotIntervals Intersect(SnapshotIntervals other)
    {
        ArgumentNullException.ThrowIfNull(other);
        ImmutableArray<(ulong, ulong)>.Builder runs = ImmutableArray.CreateBuilder<(ulong, ulong)>();
        for (int i = 0, j = 0; i < _runs.Length && j < other._runs.Length;)
        {
            ulong first = Math.Max(_runs[i].First, other._runs[j].First);
            ulong last = Math.Min(_runs[i].Last, other._runs[j].Last);
            if (first <= last)
            {
                runs.Add((first, last));
            }

            if (_runs[i].Last < other._runs[j].Last)
            {
                i++;
            }
            else
            {
                j++;
            }
        }

        return new SnapshotIntervals(runs.ToImmutable());
    }

    /// <summary>The ids of this set that are not in another.</summary>
    /// <param name="other">The other one.</param>
    /// <returns>The set.</returns>
    public SnapshotIntervals Except(SnapshotIntervals other)
    {
        ArgumentNullException.ThrowIfNull(other);
        ImmutableArray<(ulong, ulong)>.Builder runs = ImmutableArray.CreateBuilder<(ulong, ulong)>();
        int j = 0;
        foreach ((ulong first, ulong last) in _runs)
        {
            ulong from = first;
            while (j < other._runs.Length && other._runs[j].Last < from)
            {
                j++;
            }

            for (int k = j; k < other._runs.Length && other._runs[k].First <= last; k++)
            {
                if (other._runs[k].First > from)
                {
                    runs.Add((from, other._runs[k].First - 1));
                }

                from = other._runs[k].Last + 1;
            }

            if (from <= last)
            {
                runs.Add((from, last));
            }
        }

        return new SnapshotIntervals(runs.ToImmutable());
    }

    /// <summary>The ids, ascending.</summary>
    /// <returns>One by one.</returns>
    public IEnumerable<ulong> Ids()
    {
        foreach ((ulong first, ulong last) in _runs)
        {
            for (ulong id = first; id <= last; id++)
            {
                yield return id;
            }
        }
    }

    /// <summary>Writes the set.</summary>
    /// <param name="writer">Where to: count i32, then first u64 and last u64 of each run.</param>
    public void Encode(WireWriter writer)
    {
        writer.WriteInt32(_runs.Length);
        foreach ((ulong first, ulong last) in _runs)
        {
            writer.WriteUInt64(first);
            writer.WriteUInt64(last);
        }
    }

    /// <summary>Reads a set.</summary>
    /// <param name="reader">Where from.</param>
    /// <returns>The set.</returns>
    /// <exception cref="MalformedDataException">The runs are not ascending and apart.</exception>
    public static SnapshotIntervals Decode(ref WireReader reader)
    {
        int count = reader.ReadCount(16);
        if (count == 0)
        {
            return Empty;
        }

        ImmutableArray<(ulong, ulong)>.Builder runs = ImmutableArray.CreateBuilder<(ulong, ulong)>(count);
        ulong before = 0;
        for (int i = 0; i < count; i++)
        {
            ulong first = reader.ReadUInt64();
            ulong last = reader.ReadUInt64();
            if (first == 0 || last < first || last > LargestId || (i > 0 && first <= before + 1))
            {
                throw new MalformedDataException($"snapshot ids {first} to {last} after {before}");
            }

            before = last;
            runs.Add((first, last));
        }

        return new SnapshotIntervals(runs.MoveToImmutable());
    }

    /// <inheritdoc/>
    public bool Equals(SnapshotIntervals? other) => other is not null && _runs.AsSpan().SequenceEqual(other._runs.AsSpan());

    /// <inheritdoc/>
    public override bool Equals(object? obj) => Equals(obj as SnapshotIntervals);

    /// <inheritdoc/>
    public override int GetHashCode()
    {
        ulong hash = (ulong)_runs.Length;
        foreach ((ulong first, ulong last) in _runs)
        {
            hash = ((hash ^ first) * 0x9E3779B97F4A7C15) ^ last;
        }

        return (int)(hash ^ (hash >> 32));
    }

    /// <inheritdoc/>
    public override string ToString() => string.Join(',', _runs.Select(run => run.First == run.Last ? $"{run.First}" : $"{run.First}-{run.Last}"));

    // Index of the first run that ends at or after an id.
    private int IndexOf(ulong id)
    {
        int low = 0, high = _runs.Length;
        while (low < high)
        {
            int middle = (low + high) >>> 1;
            if (_runs[middle].Last < id)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low;
    }
}
