using System.Text;
using Storage.Crush;

namespace Storage.Cluster;

/// <summary>Where a PG lives at one epoch.</summary>
/// <param name="Up">OSDs that CRUSH and upmap choose, those that are up, the primary first.</param>
/// <param name="Acting">OSDs that serve: <see cref="Up"/>, unless pg_temp says otherwise.</param>
public sealed record PgMapping(OsdId[] Up, OsdId[] Acting)
{
    /// <summary>First of the up set, or none.</summary>
    public OsdId UpPrimary => Up.Length > 0 ? Up[0] : OsdId.None;

    /// <summary>First of the acting set, or none.</summary>
    public OsdId Primary => Acting.Length > 0 ? Acting[0] : OsdId.None;
}

/// <summary>Object name → PG → OSDs, bit-exact with Ceph for replicated pools with the flag <c>hashpspool</c>.</summary>
public static class Placement
{
    private const int MostCopies = 64;

    /// <summary>Makes the id of a live object from its name, with Ceph's object hash (rjenkins).</summary>
    /// <param name="name">The object's name.</param>
    /// <returns>The id.</returns>
    public static ObjectId ObjectOf(string name) => new(name, HashName(name));

    /// <summary>Hash of an object's name.</summary>
    /// <param name="name">The name; at most <see cref="ObjectId.LongestName"/> bytes of UTF-8.</param>
    /// <returns>The hash that decides the PG.</returns>
    /// <exception cref="ArgumentException">The name is too long.</exception>
    public static uint HashName(string name)
    {
        if (name.Length > ObjectId.LongestName)
        {
            throw new ArgumentException($"an object name of {name.Length} characters; the limit is {ObjectId.LongestName} bytes of UTF-8", nameof(name));
        }

        Span<byte> utf8 = stackalloc byte[ObjectId.LongestName * 3];
        int length = Encoding.UTF8.GetBytes(name, utf8);
        if (length > ObjectId.LongestName)
        {
            throw new ArgumentException($"an object name of {length} bytes of UTF-8; the limit is {ObjectId.LongestName}", nameof(name));
        }

        return CrushHash.StringHash(utf8[..length]);
    }

    internal static PgMapping Compute(ClusterMap map, PoolInfo pool, PoolPlacement placement, PgId group)
    {
        ReadOnlySpan<int> chosen = placement.Choose(map, pool, group.Seed);
        Span<int> raw = stackalloc int[MostCopies];
        raw = raw[..chosen.Length];
        chosen.CopyTo(raw);
        if (map.UpmapItems.TryGetValue(group, out (OsdId From, OsdId To)[]? items))
        {
            ApplyUpmap(map, raw, items);
        }

        OsdId[] up = KeepUp(map, raw);
        if (!map.PgTemp.TryGetValue(group, out OsdId[]? temp))
        {
            return new PgMapping(up, up);
        }

        OsdId[] acting = Array.FindAll(temp, map.IsUp);
        return new PgMapping(up, acting.Length > 0 ? acting : up);
    }

    private static void ApplyUpmap(ClusterMap map, Span<int> raw, (OsdId From, OsdId To)[] items)
    {
        foreach ((OsdId from, OsdId to) in items)
        {
            // A pair is void when its target is already in the set or takes no data.
            if (!raw.Contains(to.Value) && map.FindOsd(to) is { IsIn: true })
            {
                int at = raw.IndexOf(from.Value);
                if (at >= 0)
                {
                    raw[at] = to.Value;
                }
            }
        }
    }

    private static OsdId[] KeepUp(ClusterMap map, ReadOnlySpan<int> raw)
    {
        var up = new List<OsdId>(raw.Length);
        foreach (int osd in raw)
        {
            if (osd != CrushMap.ItemNone && map.IsUp(new OsdId(osd)))
            {
                up.Add(new OsdId(osd));
            }
        }

        return [.. up];
    }
}
