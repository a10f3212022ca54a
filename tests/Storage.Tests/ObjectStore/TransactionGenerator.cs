using Storage.Cluster;
using Storage.ObjectStore;
using Storage.Reactor;

namespace Storage.Tests.ObjectStore;

/// <summary>Draws transactions over some objects in two collections; every code, aligned and not, with aliasing.</summary>
internal sealed class TransactionGenerator(Random random, BufferPool pool)
{
    public static readonly CollectionId[] Collections = [new(new PgId(1, 0)), new(new PgId(1, 1))];

    public static readonly ObjectId[] Objects =
    [
        new("a", 0x11), new("b", 0x80000000), new("b", 0x80000000, 3), new("long/name\0x", 7), new("c", 0x11), new("d", 99),
    ];

    /// <summary>The names.</summary>
    public IReadOnlyList<ObjectId> Names { get; init; } = Objects;

    /// <summary>Writes begin below this, in bytes.</summary>
    public int LargestOffset { get; init; } = 600_000;

    /// <summary>Of four writes one is of up to so many whole blocks, and one of up to three quarters as many bytes.</summary>
    public int LargestBlocks { get; init; } = 20;

    /// <summary>Of so many steps that could remove a whole collection, one does.</summary>
    public int CollectionLife { get; init; } = 4;

    /// <summary>Of so many steps that could split a collection, which moves a good part of it over the other's objects, one does.</summary>
    public int SplitLife { get; init; } = 1;

    /// <summary>Records that the logs were given by now.</summary>
    public int Records { get; set; }

    /// <summary>Of a hundred steps, how many overwrite a few whole blocks of the same few.</summary>
    public int Overwrites { get; init; }

    /// <summary>Half of the writes are of data that can be compressed, more or less of it.</summary>
    public bool Compressible { get; init; }

    public Transaction Next(IObjectStore present)
    {
        var transaction = new Transaction();
        int steps = random.Next(1, 5);
        var live = new LiveObjects(present);
        for (int i = 0; i < steps; i++)
        {
            Add(transaction, live);
        }

        return transaction;
    }

    private void Add(Transaction t, LiveObjects live)
    {
        CollectionId c = Collections[random.Next(2)];
        ObjectId o = Names[random.Next(Names.Count)];
        ObjectId p = Names[random.Next(Names.Count)];
        if (random.Next(100) < Overwrites)
        {
            byte[] blocks = new byte[4096 * random.Next(1, 3)];
            random.NextBytes(blocks);
            BufferSegment hot = Data(blocks);
            t.Write(c, o, random.Next(4) * 4096L, hot);
            hot.Buffer!.Release();
            live.Add(c, o);
            return;
        }

        if (random.Next(8) == 0)
        {
            AddToLog(t, c);
            return;
        }

        int kind = random.Next(100);
        bool exists = live.Contains(c, o);
        switch (kind)
        {
            case < 38:
                byte[] data = new byte[Length()];
                Fill(data);
                BufferSegment segment = Data(data);
                t.Write(c, o, Offset(), segment);
                segment.Buffer!.Release();
                live.Add(c, o);
                break;
            case < 43:
                t.Touch(c, o);
                live.Add(c, o);
                break;
            case < 50:
                t.Zero(c, o, Offset(), Length());
                live.Add(c, o);
                break;
            case < 56:
                t.Truncate(c, o, Offset());
                live.Add(c, o);
                break;
            case < 59:
                t.Remove(c, o);
                live.Remove(c, o);
                break;
            case < 63 when exists:
                t.Clone(c, o, p);
                live.Add(c, p);
                break;
            case < 71 when exists:
                t.CloneRange(c, o, p, Offset(), Length(), Offset());
                live.Add(c, p);
                break;
            case < 74 when exists:
                CollectionId to = Collections[random.Next(2)];
                t.Move(c, o, to, p);
                if (c != to || o != p)
                {
                    live.Remove(c, o);
                    live.Add(to, p);
                }

                break;
            case < 75 when random.Next(SplitLife) == 0:
                int bitCount = random.Next(4) == 0 ? random.Next(33) : random.Next(3);
                uint bits = random.Next(2) == 0 ? o.Hash : (uint)random.Next(8);
                CollectionId other = Collections[c == Collections[0] ? 1 : 0];
                t.SplitCollection(c, bitCount, bits, other);
                foreach (ObjectId moved in Names.Where(name => PgSplit.Holds(name.Hash, bits, bitCount) && live.Contains(c, name)))
                {
                    live.Remove(c, moved);
                    live.Add(other, moved);
                }

                break;
            case < 79:
                t.SetAttribute(c, o, "attr" + random.Next(4), Value());
                live.Add(c, o);
                break;
            case < 81:
                t.RemoveAttribute(c, o, "attr" + random.Next(4));
                break;
            case < 92:
                t.SetOmap(c, o, Key(), Value());
                live.Add(c, o);
                break;
            case < 95:
                t.RemoveOmap(c, o, Key());
                break;
            case < 98:
                t.RemoveOmapRange(c, o, Key(), Key());
                break;
            case < 99:
                t.ClearOmap(c, o);
                break;
            default:
                if (random.Next(CollectionLife) == 0)
                {
                    t.RemoveCollection(c);
                    t.CreateCollection(c);
                    live.Clear(c);
                }

                break;
        }
    }

    // Records of all sizes, so that segments fill up; trims that mostly keep the newest ones.
    private void AddToLog(Transaction t, CollectionId c)
    {
        if (random.Next(5) == 0)
        {
            t.TrimLog(c, random.Next(12) == 0 ? long.MaxValue : random.Next(Records + 1));
            return;
        }

        for (int i = random.Next(1, 12); i > 0; i--)
        {
            byte[] record = new byte[random.Next(10) == 0 ? random.Next(40_000) : random.Next(300)];
            random.NextBytes(record);
            t.AppendLog(c, record);
            Records++;
        }
    }

    private long Offset() => random.Next(3) == 0 ? random.Next(LargestOffset) : random.Next(LargestOffset / 6000) * 4096L;

    private int Length() => random.Next(4) switch
    {
        0 => random.Next(0, 6000),
        1 => random.Next(1, 4) * 4096,
        2 => random.Next(1, LargestBlocks) * 4096,
        _ => random.Next(1, LargestBlocks * 3000),
    };

    private void Fill(byte[] data)
    {
        random.NextBytes(data);
        if (Compressible && random.Next(2) == 0)
        {
            int noise = random.Next(1, 12); // of sixteen bytes, how many are noise
            for (int i = 0; i < data.Length; i++)
            {
                data[i] = i % 16 < noise ? data[i] : (byte)(i / 5000);
            }
        }
    }

    private byte[] Key() => [(byte)('k'), (byte)random.Next(40)];

    private byte[] Value()
    {
        byte[] value = new byte[random.Next(0, 40)];
        random.NextBytes(value);
        return value;
    }

    private BufferSegment Data(byte[] bytes)
    {
        PageBuffer buffer = pool.Rent(bytes.Length);
        bytes.CopyTo(buffer.Span);
        return buffer.Slice(0, bytes.Length);
    }

    /// <summary>Which objects there are, with what the transaction so far changes.</summary>
    private sealed class LiveObjects(IObjectStore present)
    {
        private readonly Dictionary<(CollectionId, ObjectId), bool> _changed = [];
        private readonly HashSet<CollectionId> _cleared = [];

        public bool Contains(CollectionId collection, ObjectId id) =>
            _changed.TryGetValue((collection, id), out bool live) ? live : !_cleared.Contains(collection) && present.TryStat(collection, id, out _);

        public void Add(CollectionId collection, ObjectId id) => _changed[(collection, id)] = true;

        public void Remove(CollectionId collection, ObjectId id) => _changed[(collection, id)] = false;

        public void Clear(CollectionId collection)
        {
            foreach ((CollectionId, ObjectId) key in _changed.Keys.Where(key => key.Item1 == collection).ToArray())
            {
                _changed.Remove(key);
            }

            _cleared.Add(collection);
        }
    }
}
