using Storage.Cluster;
using Storage.Messaging;

namespace Storage.Osd;

/// <summary>
/// From an operation to the version of the log entry that it made. A hash table whose nodes lie in blocks: growing moves no node, so that
/// thousands of them per PG cost the garbage collector nothing while the log fills and nothing afterwards.
/// </summary>
internal sealed class OperationIndex
{
    private readonly BlockList<Node> _nodes = new();
    private int[] _buckets = new int[16]; // 1 + the first node's index; 0 for none
    private int _free; // 1 + the first free node's index

    private struct Node
    {
        public OperationId Id;
        public PgVersion Version;
        public int Next; // as in the buckets
    }

    public int Count { get; private set; }

    public bool TryGet(OperationId id, out PgVersion version)
    {
        for (int at = _buckets[Bucket(id)]; at != 0; at = _nodes[at - 1].Next)
        {
            ref Node node = ref _nodes[at - 1];
            if (node.Id == id)
            {
                version = node.Version;
                return true;
            }
        }

        version = default;
        return false;
    }

    /// <summary>Sets an operation's version, also if it has one.</summary>
    public void Set(OperationId id, PgVersion version)
    {
        for (int at = _buckets[Bucket(id)]; at != 0; at = _nodes[at - 1].Next)
        {
            if (_nodes[at - 1].Id == id)
            {
                _nodes[at - 1].Version = version;
                return;
            }
        }

        if (Count == _buckets.Length)
        {
            Grow();
        }

        ref int bucket = ref _buckets[Bucket(id)];
        var node = new Node { Id = id, Version = version, Next = bucket };
        if (_free != 0)
        {
            bucket = _free;
            _free = _nodes[bucket - 1].Next;
            _nodes[bucket - 1] = node;
        }
        else
        {
            _nodes.Add(in node);
            bucket = _nodes.Count;
        }

        Count++;
    }

    /// <summary>Forgets an operation if it has that version.</summary>
    public void Remove(OperationId id, PgVersion version)
    {
        ref int link = ref _buckets[Bucket(id)];
        while (link != 0)
        {
            int at = link;
            ref Node node = ref _nodes[at - 1];
            if (node.Id == id)
            {
                if (node.Version == version)
                {
                    link = node.Next;
                    node = new Node { Next = _free };
                    _free = at;
                    Count--;
                }

                return;
            }

            link = ref node.Next;
        }
    }

    public void Clear()
    {
        _nodes.Clear();
        _buckets = new int[16];
        _free = 0;
        Count = 0;
    }

    private int Bucket(OperationId id)
    {
        ulong mixed = (id.Client ^ (id.Sequence * 0x9E3779B97F4A7C15)) * 0xD6E8FEB86659FD93;
        return (int)(mixed >> 32) & (_buckets.Length - 1);
    }

    private void Grow()
    {
        int[] before = _buckets;
        _buckets = new int[before.Length * 2];
        foreach (int first in before)
        {
            for (int at = first; at != 0;)
            {
                ref Node node = ref _nodes[at - 1];
                int next = node.Next;
                ref int bucket = ref _buckets[Bucket(node.Id)];
                node.Next = bucket;
                bucket = at;
                at = next;
            }
        }
    }
}
