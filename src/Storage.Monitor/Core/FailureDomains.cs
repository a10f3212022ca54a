using Storage.Cluster;
using Storage.Crush;

namespace Storage.Monitor.Core;

/// <summary>The CRUSH hierarchy seen from the devices: who is above whom. Shadow buckets are left out.</summary>
public sealed class FailureDomains
{
    private readonly CrushMap _crush;
    private readonly Dictionary<int, int> _parents = [];
    private readonly int _hostType;

    /// <summary>Reads a hierarchy.</summary>
    /// <param name="crush">The CRUSH map.</param>
    public FailureDomains(CrushMap crush)
    {
        _crush = crush;
        _hostType = crush.FindType("host");
        foreach (CrushBucket bucket in crush.Buckets)
        {
            if (!crush.IsShadow(bucket.Id))
            {
                foreach (int item in bucket.Items)
                {
                    _parents[item] = bucket.Id;
                }
            }
        }
    }

    /// <summary>The failure domain of an OSD for failure reports: its host, or the bucket that holds it; an OSD that no bucket holds
    /// is one of its own.</summary>
    /// <param name="osd">The OSD.</param>
    /// <returns>A bucket's id, or the OSD's number.</returns>
    public int DomainOf(OsdId osd)
    {
        int domain = _parents.GetValueOrDefault(osd.Value, osd.Value);
        for (int item = domain; item < 0; item = _parents.GetValueOrDefault(item))
        {
            if (_crush.GetBucket(item)?.Type == _hostType)
            {
                return item;
            }
        }

        return domain;
    }

    /// <summary>The bucket that holds an item, or null.</summary>
    /// <param name="item">A device or bucket.</param>
    /// <returns>The bucket.</returns>
    public CrushBucket? ParentOf(int item) => _parents.TryGetValue(item, out int parent) ? _crush.GetBucket(parent) : null;

    /// <summary>Buckets above a device by type, as in host=node1, root=default.</summary>
    /// <param name="osd">The device.</param>
    /// <returns>Type and name, from the bottom up.</returns>
    public IEnumerable<(string Type, string Name)> LocationOf(OsdId osd)
    {
        for (CrushBucket? bucket = ParentOf(osd.Value); bucket is not null; bucket = ParentOf(bucket.Id))
        {
            yield return (_crush.Types.TryGetValue(bucket.Type, out string? type) ? type : $"type{bucket.Type}", _crush.GetItemName(bucket.Id) ?? $"bucket{bucket.Id}");
        }
    }

    /// <summary>A device's weight in its bucket, 16.16 fixed point; 0 if no bucket holds it.</summary>
    /// <param name="osd">The device.</param>
    /// <returns>The weight.</returns>
    public uint WeightOf(OsdId osd)
    {
        CrushBucket? bucket = ParentOf(osd.Value);
        int at = bucket is null ? -1 : bucket.Items.IndexOf(osd.Value);
        return at < 0 ? 0 : bucket!.ItemWeights[at];
    }
}
