using Storage.Cluster;
using Storage.Crush;

namespace Storage.Monitor.Core;

/// <summary>What a change of the CRUSH map, or of who is in, costs the pools.</summary>
internal static class PlacementRoom
{
    /// <summary>Finds a pool whose copies would find fewer places than it wants, and fewer than now.</summary>
    /// <param name="draft">The map before the change.</param>
    /// <param name="crush">The CRUSH map after it.</param>
    /// <param name="isOut">Whether the change takes an OSD out.</param>
    /// <returns>What would be lost, for the operator; null if nothing.</returns>
    public static string? Judge(MapDraft draft, CrushMap crush, Func<OsdId, bool> isOut)
    {
        foreach (PoolInfo pool in draft.Pools)
        {
            var before = new UpmapBalancer.PoolDomains(draft.Crush, pool, WeightOf);
            var after = new UpmapBalancer.PoolDomains(crush, pool, id => isOut(id) ? 0 : WeightOf(id));
            if (before.IsUnderstood && after.IsUnderstood && after.Places < pool.Size && after.Places < before.Places)
            {
                string cost = after.Places == 0 ? "all copies of its data would have no place"
                    : after.Places < pool.MinSize ? $"its I/O would stop once its data has moved (min_size {pool.MinSize})"
                    : $"{pool.Size - after.Places} of {pool.Size} copies of its data would have no place";
                return $"pool '{pool.Name}' would have {after.Places} of the {pool.Size} places it needs (now {before.Places}): {cost}";
            }
        }

        return null;

        uint WeightOf(OsdId id) => draft.FindOsd(id) is { IsIn: true } osd ? osd.Weight : 0;
    }
}
