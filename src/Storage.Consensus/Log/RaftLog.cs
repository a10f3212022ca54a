using System.Runtime.InteropServices;
using Storage.Coding;

namespace Storage.Consensus;

/// <summary>
/// The log in memory, all of it since the last compaction:
/// <code>
/// ... compacted ... | base | base+1 ......... stable | stable+1 .... last
///                     term known                       not yet durable on this node
/// </code>
/// </summary>
internal sealed class RaftLog
{
    private readonly List<RaftEntry> _entries;

    public RaftLog(LogPosition basePosition, IReadOnlyList<RaftEntry> entries)
    {
        BaseIndex = basePosition.Index;
        BaseTerm = basePosition.Term;
        _entries = [.. entries];
        ulong index = BaseIndex, term = BaseTerm;
        foreach (RaftEntry entry in entries)
        {
            Invariant.Holds(entry.Index == ++index);
            Invariant.Holds(entry.Term >= term);
            term = entry.Term;
        }

        StableIndex = LastIndex;
    }

    /// <summary>The index before the first entry held.</summary>
    public ulong BaseIndex { get; private set; }

    public ulong BaseTerm { get; private set; }

    /// <summary>Entries up to here are durable on this node. BaseIndex &lt;= StableIndex &lt;= LastIndex.</summary>
    public ulong StableIndex { get; private set; }

    /// <summary>Entries up to here, from the base on, were found in order of terms by whoever checks; entries never change, so this stands until some are cut off.</summary>
    public ulong InOrderTo { get; set; }

    public ulong LastIndex => BaseIndex + (ulong)_entries.Count;

    public ulong LastTerm => _entries.Count == 0 ? BaseTerm : _entries[^1].Term;

    public RaftEntry this[ulong index] => _entries[checked((int)(index - BaseIndex - 1))];

    /// <summary>The term at <paramref name="index"/>; false when the log does not reach there (any more).</summary>
    public bool TryGetTerm(ulong index, out ulong term)
    {
        if (index < BaseIndex || index > LastIndex)
        {
            term = 0;
            return false;
        }

        term = index == BaseIndex ? BaseTerm : this[index].Term;
        return true;
    }

    public bool Matches(ulong index, ulong term) => TryGetTerm(index, out ulong mine) && mine == term;

    public bool IsUpToDate(ulong lastIndex, ulong lastTerm) =>
        lastTerm > LastTerm || (lastTerm == LastTerm && lastIndex >= LastIndex);

    /// <summary>
    /// The highest index up to <paramref name="index"/> whose term is not above <paramref name="term"/>: no entry between
    /// can agree with a log that has <paramref name="term"/> there, so one round trip skips them all.
    /// </summary>
    public LogPosition FindConflict(ulong index, ulong term)
    {
        for (index = Math.Min(index, LastIndex); ; index--)
        {
            if (!TryGetTerm(index, out ulong mine))
            {
                return new LogPosition(index, 0); // compacted: unknown here, the other side decides
            }

            if (mine <= term || index == 0)
            {
                return new LogPosition(index, mine);
            }
        }
    }

    public void Append(in RaftEntry entry)
    {
        Invariant.Holds(entry.Index == LastIndex + 1);
        Invariant.Holds(entry.Term >= LastTerm);
        _entries.Add(entry);
    }

    public void TruncateFrom(ulong index)
    {
        Invariant.Holds(index > BaseIndex);
        int keep = checked((int)(index - BaseIndex - 1));
        if (keep < _entries.Count)
        {
            CollectionsMarshal.AsSpan(_entries)[keep..].Clear();
            _entries.RemoveRange(keep, _entries.Count - keep);
            InOrderTo = Math.Min(InOrderTo, LastIndex);
        }

        StableIndex = Math.Min(StableIndex, LastIndex);
    }

    /// <summary>Entries from <paramref name="first"/> to <paramref name="last"/>, at least one, at most about <paramref name="maxBytes"/>.</summary>
    public RaftEntry[] Slice(ulong first, ulong last, long maxBytes)
    {
        if (first > last)
        {
            return [];
        }

        Invariant.Holds(first > BaseIndex);
        Invariant.Holds(last <= LastIndex);
        long bytes = 0;
        ulong end = first;
        while (end <= last)
        {
            bytes += this[end].SizeBytes;
            if (bytes > maxBytes && end > first)
            {
                break;
            }

            end++;
        }

        int start = checked((int)(first - BaseIndex - 1));
        return CollectionsMarshal.AsSpan(_entries).Slice(start, checked((int)(end - first))).ToArray();
    }

    /// <summary>
    /// The disk holds the log up to <paramref name="position"/>. The term guards against a batch whose entries were
    /// replaced while it was being written.
    /// </summary>
    public void MarkStable(LogPosition position)
    {
        if (position.Index > StableIndex && Matches(position.Index, position.Term))
        {
            StableIndex = position.Index;
        }
    }

    public void CompactTo(ulong index)
    {
        Invariant.Holds(index <= StableIndex);
        if (index > BaseIndex)
        {
            BaseTerm = this[index].Term;
            _entries.RemoveRange(0, checked((int)(index - BaseIndex)));
            BaseIndex = index;
        }
    }

    public void Reset(LogPosition basePosition)
    {
        _entries.Clear();
        BaseIndex = basePosition.Index;
        BaseTerm = basePosition.Term;
        StableIndex = BaseIndex;
        InOrderTo = BaseIndex;
    }
}
