using Storage.Cluster;
using Storage.Coding;
using Storage.Crush;

namespace Storage.Monitor.Core;

/// <summary>A PG's copy that moves.</summary>
/// <param name="Group">The PG.</param>
/// <param name="From">Where it is.</param>
/// <param name="To">Where it goes.</param>
public readonly record struct UpmapMove(PgId Group, OsdId From, OsdId To);

/// <summary>How many PGs an OSD has, gets, and should have.</summary>
/// <param name="Osd">The OSD.</param>
/// <param name="Groups">Now.</param>
/// <param name="After">After the moves.</param>
/// <param name="Share">By its weight.</param>
public readonly record struct UpmapShare(OsdId Osd, int Groups, int After, double Share);

/// <summary>Moves that even out PGs.</summary>
/// <param name="Moves">In the order they were found: the first ones help most.</param>
/// <param name="Items">For each PG that moves its exceptions to CRUSH afterwards; empty where there are none left.</param>
/// <param name="Shares">Each OSD that takes data.</param>
public sealed record UpmapPlan(IReadOnlyList<UpmapMove> Moves, IReadOnlyDictionary<PgId, (OsdId From, OsdId To)[]> Items, IReadOnlyList<UpmapShare> Shares)
{
    /// <summary>Farthest that an OSD is from its share now, in PGs.</summary>
    public double WorstBefore => Shares.Count == 0 ? 0 : Shares.Max(share => Math.Abs(share.Groups - share.Share));

    /// <summary>Farthest that an OSD is from its share after the moves, in PGs.</summary>
    public double WorstAfter => Shares.Count == 0 ? 0 : Shares.Max(share => Math.Abs(share.After - share.Share));
}

/// <summary>
/// Plans exceptions to CRUSH (upmap) that bring each OSD's number of PGs to within one of its share: always the move that helps most,
/// from the OSD farthest above its share to the one farthest below that the rule's failure domains allow. A function of the map.
/// </summary>
public static class UpmapBalancer
{
    /// <summary>Makes a plan.</summary>
    /// <param name="map">The newest map.</param>
    /// <param name="mostMoves">At most so many moves.</param>
    /// <returns>The plan; without moves if none helps.</returns>
    public static UpmapPlan Plan(ClusterMap map, int mostMoves)
    {
        var targets = new Dictionary<int, double>();
        var counts = new Dictionary<int, int>();
        var held = new Dictionary<int, List<PgId>>();
        var up = new Dictionary<PgId, OsdId[]>();
        var domains = new Dictionary<long, PoolDomains>();
        foreach (PoolInfo pool in map.Pools)
        {
            var shape = PoolDomains.Of(map, pool);
            if (!shape.IsUnderstood)
            {
                continue; // rules with several takes, or choices in steps, stay as CRUSH made them
            }

            domains.Add(pool.Id, shape);
            foreach ((int osd, double share) in shape.Shares())
            {
                targets[osd] = targets.GetValueOrDefault(osd) + share;
            }

            for (uint seed = 0; seed < (uint)pool.PgCount; seed++)
            {
                var group = new PgId(pool.Id, seed);
                up[group] = map.Locate(group).Up;
                foreach (OsdId osd in up[group])
                {
                    counts[osd.Value] = counts.GetValueOrDefault(osd.Value) + 1;
                    if (!held.TryGetValue(osd.Value, out List<PgId>? groups))
                    {
                        held[osd.Value] = groups = [];
                    }

                    groups.Add(group);
                }
            }
        }

        var before = new Dictionary<int, int>(counts);
        var moves = new List<UpmapMove>();
        var items = new Dictionary<PgId, (OsdId From, OsdId To)[]>();
        var stuck = new HashSet<int>();
        while (moves.Count < mostMoves && FindMove() is { } move)
        {
            moves.Add(move);
            (OsdId, OsdId)[] known = items.GetValueOrDefault(move.Group) ?? map.UpmapItems.GetValueOrDefault(move.Group) ?? [];
            items[move.Group] = Extend(known, move.From, move.To);
            up[move.Group] = [.. up[move.Group].Select(osd => osd == move.From ? move.To : osd)];
            counts[move.From.Value]--;
            counts[move.To.Value] = counts.GetValueOrDefault(move.To.Value) + 1;
            held[move.From.Value].Remove(move.Group);
            if (!held.TryGetValue(move.To.Value, out List<PgId>? groups))
            {
                held[move.To.Value] = groups = [];
            }

            groups.Add(move.Group);
            stuck.Clear();
        }

        UpmapShare[] shares = [.. targets.OrderBy(entry => entry.Key).Select(entry => new UpmapShare(
            new OsdId(entry.Key), before.GetValueOrDefault(entry.Key), counts.GetValueOrDefault(entry.Key), entry.Value))];
        return new UpmapPlan(moves, items, shares);

        double Excess(int osd) => counts.GetValueOrDefault(osd) - targets.GetValueOrDefault(osd);

        UpmapMove? FindMove()
        {
            int[] below = [.. targets.Keys.OrderBy(Excess).ThenBy(osd => osd)];
            foreach (int from in counts.Keys.Where(osd => !stuck.Contains(osd) && counts[osd] > 0).OrderByDescending(Excess).ThenBy(osd => osd))
            {
                double surplus = Excess(from);
                if (below.Length == 0 || surplus - Excess(below[0]) <= 1 + 1e-9)
                {
                    return null; // no move makes the farther of the two nearer
                }

                foreach (int to in below)
                {
                    // A move helps when it leaves both nearer to their shares, taken together.
                    if (surplus - Excess(to) <= 1 + 1e-9)
                    {
                        break;
                    }

                    foreach (PgId group in held[from])
                    {
                        if (map.IsUp(new OsdId(to)) && domains[group.Pool].Allows(up[group], new OsdId(from), new OsdId(to)))
                        {
                            return new UpmapMove(group, new OsdId(from), new OsdId(to));
                        }
                    }
                }

                stuck.Add(from);
            }

            return null;
        }
    }

    // CRUSH's choice stays the origin of every pair, so that pairs never form chains.
    private static (OsdId From, OsdId To)[] Extend((OsdId From, OsdId To)[] known, OsdId from, OsdId to)
    {
        var pairs = new List<(OsdId From, OsdId To)>(known);
        int at = pairs.FindIndex(pair => pair.To == from);
        if (at < 0)
        {
            pairs.Add((from, to));
        }
        else if (pairs[at].From == to)
        {
            pairs.RemoveAt(at);
        }
        else
        {
            pairs[at] = (pairs[at].From, to);
        }

        return [.. pairs];
    }

    /// <summary>The OSDs that a pool's rule may choose.</summary>
    /// <param name="map">The map.</param>
    /// <param name="pool">The pool.</param>
    /// <returns>All OSDs where the rule is too intricate to tell.</returns>
    public static IReadOnlyList<OsdId> DevicesOf(ClusterMap map, PoolInfo pool)
    {
        ArgumentNullException.ThrowIfNull(map);
        ArgumentNullException.ThrowIfNull(pool);
        var domains = PoolDomains.Of(map, pool);
        return domains.IsUnderstood ? [.. domains.Devices.Order().Select(osd => new OsdId(osd))] : [.. map.Osds.Select(osd => osd.Id)];
    }

    /// <summary>What a pool's rule says: which OSDs, and of which buckets each holds at most one copy.</summary>
    internal sealed class PoolDomains
    {
        private readonly PoolInfo _pool;
        private readonly Dictionary<int, double> _weights = [];
        private readonly Dictionary<int, int> _domains = [];

        /// <param name="crush">The CRUSH map.</param>
        /// <param name="pool">The pool.</param>
        /// <param name="weightOf">How far an OSD is in; 0 for one that is out or does not exist.</param>
        public PoolDomains(CrushMap crush, PoolInfo pool, Func<OsdId, uint> weightOf)
        {
            _pool = pool;
            if (crush.GetRule(pool.RuleId) is not { } rule)
            {
                return;
            }

            CrushStep[] takes = [.. rule.Steps.ToArray().Where(step => step.Kind == CrushStepKind.Take)];
            CrushStep[] choices = [.. rule.Steps.ToArray().Where(step => step.Kind is CrushStepKind.ChooseFirstN or CrushStepKind.ChooseLeafFirstN or CrushStepKind.ChooseIndep or CrushStepKind.ChooseLeafIndep)];
            if (takes.Length != 1 || choices.Length != 1 || (choices[0].Kind is CrushStepKind.ChooseFirstN or CrushStepKind.ChooseIndep && choices[0].Argument2 != 0))
            {
                return;
            }

            IsUnderstood = true;
            Visit(crush, weightOf, takes[0].Argument1, CrushMap.WeightOne, choices[0].Argument2, domain: 0);
        }

        public bool IsUnderstood { get; }

        public IEnumerable<int> Devices => _weights.Keys;

        /// <summary>Copies of a PG that find a place, each in a failure domain of its own.</summary>
        public int Places => _domains.Values.Distinct().Count();

        public static PoolDomains Of(ClusterMap map, PoolInfo pool) => new(map.Crush, pool, id => map.FindOsd(id) is { IsIn: true } osd ? osd.Weight : 0);

        /// <summary>PGs that each OSD is entitled to: by weight, but a failure domain holds at most one copy of each PG.</summary>
        public IEnumerable<(int Osd, double Share)> Shares()
        {
            Dictionary<int, double> byDomain = [];
            foreach ((int osd, double weight) in _weights)
            {
                byDomain[_domains[osd]] = byDomain.GetValueOrDefault(_domains[osd]) + weight;
            }

            // Domains too heavy for their number get one copy of every PG; the others share what is left.
            var capped = new HashSet<int>();
            double left = (double)_pool.PgCount * Math.Min(_pool.Size, byDomain.Count);
            double weightLeft = byDomain.Values.Sum();
            for (bool again = true; again;)
            {
                again = false;
                foreach ((int domain, double weight) in byDomain)
                {
                    if (!capped.Contains(domain) && weightLeft > 0 && left * weight / weightLeft > _pool.PgCount + 1e-9)
                    {
                        capped.Add(domain);
                        left -= _pool.PgCount;
                        weightLeft -= weight;
                        again = true;
                    }
                }
            }

            foreach ((int osd, double weight) in _weights)
            {
                int domain = _domains[osd];
                double share = capped.Contains(domain) ? _pool.PgCount : weightLeft > 0 ? left * byDomain[domain] / weightLeft : 0;
                yield return (osd, share * weight / byDomain[domain]);
            }
        }

        public bool Allows(OsdId[] up, OsdId from, OsdId to)
        {
            if (!_domains.TryGetValue(to.Value, out int domain) || up.Contains(to))
            {
                return false;
            }

            foreach (OsdId osd in up)
            {
                if (osd != from && _domains.TryGetValue(osd.Value, out int other) && other == domain)
                {
                    return false;
                }
            }

            return true;
        }

        private void Visit(CrushMap crush, Func<OsdId, uint> weightOf, int item, uint weight, int domainType, int domain)
        {
            if (item >= 0)
            {
                if (weight > 0 && weightOf(new OsdId(item)) is > 0 and var reweight)
                {
                    _weights[item] = (double)weight * reweight;
                    _domains[item] = domainType == 0 ? item : domain;
                }

                return;
            }

            CrushBucket? bucket = crush.GetBucket(item);
            Invariant.Holds(bucket is not null, "a rule takes a bucket that exists");
            if (bucket!.Type == domainType)
            {
                domain = item;
            }

            for (int i = 0; i < bucket.Size; i++)
            {
                Visit(crush, weightOf, bucket.Items[i], bucket.ItemWeights[i], domainType, domain);
            }
        }
    }
}
