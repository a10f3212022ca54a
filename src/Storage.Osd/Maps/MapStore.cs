using System.Buffers.Binary;
using Storage.Cluster;
using Storage.Coding;
using Storage.ObjectStore;

namespace Storage.Osd;

/// <summary>Who a disk belongs to; written when it is formatted.</summary>
/// <param name="Fsid">The cluster.</param>
/// <param name="Osd">The OSD's number.</param>
/// <param name="Uuid">The disk's identity.</param>
public sealed record OsdIdentity(Guid Fsid, OsdId Osd, Guid Uuid);

/// <summary>
/// The OSD's own records in the meta collection: superblock, and the maps since the oldest that a PG still needs. The keys of
/// the map object are a letter ('F' whole map, 'I' increment) and the epoch big-endian.
/// </summary>
internal sealed class MapStore(IObjectStore store)
{
    private const byte FormatVersion = 1;
    private const uint WholeMapEvery = 32;
    private const string SuperblockAttribute = "superblock";
    private const string SinceAttribute = "since";
    private const int MostInMemory = 512;

    private static readonly ObjectId s_superblock = new("osd_superblock", 0);
    private static readonly ObjectId s_maps = new("osd_maps", 0);

    // Maps and increments in memory, the newest ones; a peer that is behind gets increments from here.
    private readonly Dictionary<Epoch, ClusterMap> _maps = [];
    private readonly Dictionary<Epoch, byte[]> _increments = [];
    private Epoch _oldestStored;

    /// <summary>The epoch from which on the OSD was first up with this disk: it was in no interval that began before. None as long as it never was. On disks from before
    /// this was so, the first map they had, which is older.</summary>
    public Epoch DiskSince { get; private set; }

    public ClusterMap? Newest { get; private set; }

    public static void Format(IObjectStore store, OsdIdentity identity, IStoreCompletion? completion, ulong token)
    {
        var writer = new WireWriter();
        writer.WriteByte(FormatVersion);
        identity.Fsid.TryWriteBytes(writer.Reserve(16));
        writer.WriteInt32(identity.Osd.Value);
        identity.Uuid.TryWriteBytes(writer.Reserve(16));
        var transaction = new Transaction();
        transaction.CreateCollection(CollectionId.Meta);
        transaction.Touch(CollectionId.Meta, s_superblock);
        transaction.SetAttribute(CollectionId.Meta, s_superblock, SuperblockAttribute, writer.ToArray());
        transaction.Touch(CollectionId.Meta, s_maps);
        store.Submit(transaction, completion, token);
    }

    public static OsdIdentity? ReadIdentity(IObjectStore store)
    {
        if (!store.TryGetAttribute(CollectionId.Meta, s_superblock, SuperblockAttribute, out ReadOnlyMemory<byte> value))
        {
            return null;
        }

        var reader = new WireReader(value.Span);
        reader.ReadVersion(FormatVersion, "OSD superblock");
        return new OsdIdentity(new Guid(reader.ReadRaw(16)), new OsdId(reader.ReadInt32()), new Guid(reader.ReadRaw(16)));
    }

    /// <summary>Reads what is stored; leaves every stored map at hand in <see cref="MapAt"/> until <see cref="ForgetBefore"/>.</summary>
    public void Load()
    {
        if (store.TryGetAttribute(CollectionId.Meta, s_maps, SinceAttribute, out ReadOnlyMemory<byte> since))
        {
            DiskSince = new Epoch(BinaryPrimitives.ReadUInt32LittleEndian(since.Span));
        }

        var whole = new SortedDictionary<Epoch, byte[]>();
        var increments = new SortedDictionary<Epoch, byte[]>();
        foreach ((ReadOnlyMemory<byte> key, ReadOnlyMemory<byte> value) in store.AllOmap(CollectionId.Meta, s_maps))
        {
            var epoch = new Epoch(BinaryPrimitives.ReadUInt32BigEndian(key.Span[1..]));
            (key.Span[0] == (byte)'F' ? whole : increments)[epoch] = value.ToArray();
        }

        foreach ((Epoch epoch, byte[] bytes) in whole)
        {
            if (Newest is null || epoch > Newest.Epoch)
            {
                Newest = ClusterMap.Decode(bytes);
                _maps[epoch] = Newest;
                _oldestStored = _oldestStored == Epoch.None ? epoch : _oldestStored;
            }

            while (increments.TryGetValue(Newest.Epoch.Next, out byte[]? increment))
            {
                Newest = Newest.Apply(ClusterMapIncrement.Decode(increment));
                _maps[Newest.Epoch] = Newest;
                _increments[Newest.Epoch] = increment;
            }
        }
    }

    public ClusterMap? MapAt(Epoch epoch) => _maps.GetValueOrDefault(epoch);

    /// <summary>Takes the next map over, in memory and into a transaction.</summary>
    public ClusterMap Add(Transaction transaction, ClusterMapIncrement change, ReadOnlyMemory<byte> increment)
    {
        ClusterMap next = Newest!.Apply(change);
        byte[] bytes = increment.ToArray();
        Newest = next;
        _maps[next.Epoch] = next;
        _increments[next.Epoch] = bytes;
        transaction.SetOmap(CollectionId.Meta, s_maps, Key('I', next.Epoch), bytes);
        if (next.Epoch.Value % WholeMapEvery == 0)
        {
            transaction.SetOmap(CollectionId.Meta, s_maps, Key('F', next.Epoch), next.Encode());
        }

        if (_maps.Count > MostInMemory)
        {
            ForgetBefore(new Epoch(next.Epoch.Value - (MostInMemory / 2)));
        }

        return next;
    }

    /// <summary>Takes a whole map over that does not follow the newest one.</summary>
    public ClusterMap AddWhole(Transaction transaction, ReadOnlyMemory<byte> map)
    {
        ClusterMap next = ClusterMap.Decode(map.Span);
        Newest = next;
        _maps[next.Epoch] = next;
        transaction.SetOmap(CollectionId.Meta, s_maps, Key('F', next.Epoch), map.ToArray());
        _oldestStored = _oldestStored == Epoch.None ? next.Epoch : _oldestStored;
        return next;
    }

    /// <summary>The newest map shows this process up. What it does as a member of PGs comes after this in the store's order.</summary>
    /// <param name="transaction">Gets what has to be written down: nothing but for a disk that is up for the first time.</param>
    /// <param name="upFrom">Since when.</param>
    public void NoteUp(Transaction transaction, Epoch upFrom)
    {
        if (DiskSince == Epoch.None)
        {
            // Not the first map: a monitor that lags may give a new disk one from before the OSD last served with the old disk.
            DiskSince = upFrom;
            var value = new byte[4];
            BinaryPrimitives.WriteUInt32LittleEndian(value, upFrom.Value);
            transaction.SetAttribute(CollectionId.Meta, s_maps, SinceAttribute, value);
        }
    }

    /// <summary>Drops stored maps from before an epoch, as far as whole maps allow.</summary>
    public void Trim(Transaction transaction, Epoch before)
    {
        uint keep = before.Value / WholeMapEvery * WholeMapEvery;
        if (keep <= _oldestStored.Value + WholeMapEvery || !store.TryGetOmap(CollectionId.Meta, s_maps, Key('F', new Epoch(keep)), out _))
        {
            return;
        }

        transaction.RemoveOmapRange(CollectionId.Meta, s_maps, Key('F', Epoch.None), Key('F', new Epoch(keep)));
        transaction.RemoveOmapRange(CollectionId.Meta, s_maps, Key('I', Epoch.None), Key('I', new Epoch(keep + 1)));
        _oldestStored = new Epoch(keep);
    }

    /// <summary>What somebody with an older map needs: increments if they are at hand, else the whole newest map.</summary>
    public Messaging.MapUpdate UpdateFor(Epoch have)
    {
        var increments = new List<ReadOnlyMemory<byte>>();
        for (Epoch epoch = have.Next; epoch <= Newest!.Epoch; epoch = epoch.Next)
        {
            if (!_increments.TryGetValue(epoch, out byte[]? increment))
            {
                return new Messaging.MapUpdate(Newest.Encode(), []);
            }

            increments.Add(increment);
        }

        return new Messaging.MapUpdate(ReadOnlyMemory<byte>.Empty, increments);
    }

    /// <summary>Drops maps from memory; they stay on disk.</summary>
    public void ForgetBefore(Epoch epoch)
    {
        foreach (Epoch old in _maps.Keys.Where(known => known < epoch).ToArray())
        {
            _maps.Remove(old);
        }

        foreach (Epoch old in _increments.Keys.Where(known => known < epoch).ToArray())
        {
            _increments.Remove(old);
        }
    }

    private static byte[] Key(char letter, Epoch epoch)
    {
        var key = new byte[5];
        key[0] = (byte)letter;
        BinaryPrimitives.WriteUInt32BigEndian(key.AsSpan(1), epoch.Value);
        return key;
    }
}
