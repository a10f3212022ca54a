using Storage.Crush.Editing;

namespace Storage.Crush;

/// <summary>One line of the hierarchy.</summary>
/// <param name="Id">A device (0 and up) or a bucket (negative).</param>
/// <param name="Name">Its name; empty where it has none.</param>
/// <param name="Type">The name of its type.</param>
/// <param name="Weight">Its weight in its parent (of a root: the sum below), 1.0 being 1 TiB by custom.</param>
/// <param name="Depth">0 for a root.</param>
/// <param name="DeviceClass">A device's class, or null.</param>
/// <param name="Parent">The bucket above it; 0 for a root.</param>
public readonly record struct CrushTreeNode(int Id, string Name, string Type, double Weight, int Depth, string? DeviceClass, int Parent);

/// <summary>Walks through the hierarchy.</summary>
public sealed partial class CrushMap
{
    /// <summary>The hierarchy depth first, roots by id from -1 down, items in their buckets' order. Shadow trees are left out.</summary>
    public IReadOnlyList<CrushTreeNode> Tree()
    {
        var nodes = new List<CrushTreeNode>();
        List<int> roots = ShadowTrees.Roots(Data);
        for (int i = roots.Count - 1; i >= 0; i--)
        {
            Visit(roots[i], GetBucket(roots[i])!.Weight, 0, 0);
        }

        return nodes;

        void Visit(int item, uint weight, int depth, int parent)
        {
            nodes.Add(new CrushTreeNode(item, GetItemName(item) ?? "", TypeNameOf(item), weight / (double)WeightOne, depth, item >= 0 ? GetDeviceClass(item) : null, parent));
            if (GetBucket(item) is { } bucket)
            {
                for (int i = 0; i < bucket.Size; i++)
                {
                    Visit(bucket.Items[i], bucket.ItemWeights[i], depth + 1, item);
                }
            }
        }
    }

    /// <summary>The buckets above an item as (type, name), nearest first; where it stands in several places, the first found.</summary>
    public IReadOnlyList<(string Type, string Name)> Ancestors(int item)
    {
        var path = new List<(string Type, string Name)>();
        for (int parent = ParentOf(item); parent != 0; parent = ParentOf(parent))
        {
            path.Add((TypeNameOf(parent), GetItemName(parent) ?? ""));
        }

        return path;
    }

    /// <summary>The name of the bucket of a type above a device; null when there is none.</summary>
    /// <param name="device">The OSD's number.</param>
    /// <param name="type">Such as host or rack; osd gives the device's own name.</param>
    public string? GetFailureDomain(int device, string type)
    {
        if (FindType(type) == 0)
        {
            return GetItemName(device);
        }

        foreach ((string candidate, string name) in Ancestors(device))
        {
            if (candidate == type)
            {
                return name;
            }
        }

        return null;
    }

    /// <summary>Whether a device stands anywhere in the hierarchy.</summary>
    public bool ContainsDevice(int device) => ParentOf(device) != 0;

    /// <summary>A device's weight in the bucket that holds it, 16.16 fixed point; 0 when none does.</summary>
    public uint GetDeviceWeight(int device)
    {
        int parent = ParentOf(device);
        return parent == 0 ? 0 : GetBucket(parent)!.ItemWeights[GetBucket(parent)!.IndexOf(device)];
    }

    private string TypeNameOf(int item)
    {
        int type = item >= 0 ? 0 : GetBucket(item)!.Type;
        return Data.TypeNames.GetValueOrDefault(type) ?? $"type{type}";
    }

    private int ParentOf(int item) => _parents.GetValueOrDefault(item);
}
