using Storage.Cluster;
using Storage.Coding;
using Storage.ObjectStore;
using Storage.Osd;

namespace Storage.Simulation.Checking;

/// <summary>What one disk is known to have made durable of each PG's log, through all lives of its OSD.</summary>
internal sealed class DurableGroups
{
    private readonly Dictionary<CollectionId, DurableGroup> _groups = [];

    /// <summary>The newest log entry and the newest started interval that were ever durable here.</summary>
    public DurableGroup Of(PgId group) => _groups.GetValueOrDefault(new CollectionId(group));

    /// <summary>Reads what a disk holds; nothing may be under way.</summary>
    public void Load(IObjectStore store)
    {
        foreach (CollectionId collection in store.ListCollections())
        {
            if (store.TryGetAttribute(collection, PlacementGroup.MetaObject, "info", out ReadOnlyMemory<byte> info))
            {
                Add(collection, Decode(info));
                var records = new List<ReadOnlyMemory<byte>>();
                store.ReadLog(collection, records);
                foreach (ReadOnlyMemory<byte> record in records)
                {
                    Add(collection, OfRecord(record));
                }
            }
        }
    }

    /// <summary>What a transaction will make durable, or null.</summary>
    public static List<(CollectionId Collection, DurableGroup Group)>? Find(Transaction transaction)
    {
        List<(CollectionId, DurableGroup)>? found = null;
        foreach (ref readonly TransactionStep step in transaction.Steps)
        {
            if (step.Code == TransactionCode.SetAttribute && step.Name == "info" && step.Object == PlacementGroup.MetaObject)
            {
                (found ??= []).Add((step.Collection, Decode(step.Value)));
            }
            else if (step.Code == TransactionCode.AppendLog)
            {
                (found ??= []).Add((step.Collection, OfRecord(step.Value)));
            }
        }

        return found;
    }

    /// <summary>It is durable.</summary>
    public void Add(CollectionId collection, DurableGroup group)
    {
        DurableGroup known = _groups.GetValueOrDefault(collection);
        _groups[collection] = new DurableGroup(
            group.LastUpdate > known.LastUpdate ? group.LastUpdate : known.LastUpdate,
            group.LastEpochStarted > known.LastEpochStarted ? group.LastEpochStarted : known.LastEpochStarted);
    }

    private static DurableGroup OfRecord(ReadOnlyMemory<byte> record) => new(PgLogRecord.NewestOf(record.Span), Epoch.None);

    private static DurableGroup Decode(ReadOnlyMemory<byte> bytes)
    {
        var reader = new WireReader(bytes.Span);
        PgInfo info = PgInfo.Decode(ref reader);
        return new DurableGroup(info.LastUpdate, info.LastEpochStarted);
    }
}

/// <summary>What is durable of one PG on one disk.</summary>
internal readonly record struct DurableGroup(PgVersion LastUpdate, Epoch LastEpochStarted);
