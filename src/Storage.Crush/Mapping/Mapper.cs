using System.Buffers;

namespace Storage.Crush.Mapping;

/// <summary>Follows a rule for one input. Lives on the stack; a second array of the wanted size holds the leaves.</summary>
internal ref partial struct Mapper
{
    // Marks a position of an "indep" choice that is still open.
    private const int ItemUndefined = 0x7ffffffe;
    private const int StackLimit = 64;

    private readonly CrushBucket?[] _buckets;
    private readonly int[] _types;
    private readonly int _maxDevices;
    private readonly ReadOnlySpan<uint> _weights;
    private readonly CrushChooseArgument?[]? _arguments;
    private readonly uint _x;
    private Span<int> _permutation;
    private int _permutationBucket;
    private int _permutationDone;
    private uint _localTries;
    private uint _fallbackTries;
    private int _varyR;
    private bool _stable;

    private Mapper(CrushMap map, uint x, ReadOnlySpan<uint> weights, CrushChooseArgument?[]? arguments, Span<int> permutation)
    {
        _buckets = map.Data.Buckets;
        _types = map.BucketTypes;
        _maxDevices = map.MaxDevices;
        _weights = weights;
        _arguments = arguments;
        _x = x;
        _permutation = permutation;
    }

    internal static int Map(CrushMap map, CrushRule rule, uint x, Span<int> result, ReadOnlySpan<uint> weights, CrushChooseArgument?[]? arguments)
    {
        int width = result.Length;
        int permutation = map.PermutationSize;
        int[]? rented = null;
        Span<int> scratch = width + permutation <= StackLimit
            ? stackalloc int[3 * StackLimit]
            : (rented = ArrayPool<int>.Shared.Rent((3 * width) + permutation));
        var mapper = new Mapper(map, x, weights, arguments, scratch.Slice(3 * width, permutation));
        int count = mapper.Run(map.Tunables, rule, result, scratch[..(3 * width)]);
        if (rented is not null)
        {
            ArrayPool<int>.Shared.Return(rented);
        }

        return count;
    }

    private int Run(CrushTunables tunables, CrushRule rule, scoped Span<int> result, scoped Span<int> scratch)
    {
        int width = result.Length;
        scoped Span<int> leaves = scratch.Slice(2 * width, width);
        int fromStart = 0;
        int fromCount = 0;
        int resultCount = 0;

        // The tunable counts retries, the steps below count tries.
        uint tries = (uint)tunables.ChooseTotalTries + 1;
        uint leafTries = 0;
        _localTries = (uint)tunables.ChooseLocalTries;
        _fallbackTries = (uint)tunables.ChooseLocalFallbackTries;
        _varyR = tunables.ChooseLeafVaryR;
        _stable = tunables.ChooseLeafStable != 0;

        foreach (ref readonly CrushStep step in rule.Steps)
        {
            int argument = step.Argument1;
            scoped Span<int> from = scratch.Slice(fromStart, width);
            scoped Span<int> to = scratch.Slice(width - fromStart, width);
            switch (step.Kind)
            {
                case CrushStepKind.Take:
                    if (IsDevice(argument) || BucketAt(argument) is not null)
                    {
                        from[0] = argument;
                        fromCount = 1;
                    }

                    break;

                case CrushStepKind.SetChooseTries:
                    tries = argument > 0 ? (uint)argument : tries;
                    break;
                case CrushStepKind.SetChooseLeafTries:
                    leafTries = argument > 0 ? (uint)argument : leafTries;
                    break;
                case CrushStepKind.SetChooseLocalTries:
                    _localTries = argument >= 0 ? (uint)argument : _localTries;
                    break;
                case CrushStepKind.SetChooseLocalFallbackTries:
                    _fallbackTries = argument >= 0 ? (uint)argument : _fallbackTries;
                    break;
                case CrushStepKind.SetChooseLeafVaryR:
                    _varyR = argument >= 0 ? argument : _varyR;
                    break;
                case CrushStepKind.SetChooseLeafStable:
                    _stable = argument >= 0 ? argument != 0 : _stable;
                    break;

                case CrushStepKind.ChooseFirstN:
                case CrushStepKind.ChooseLeafFirstN:
                case CrushStepKind.ChooseIndep:
                case CrushStepKind.ChooseLeafIndep:
                    if (fromCount == 0)
                    {
                        break;
                    }

                    bool firstN = step.Kind is CrushStepKind.ChooseFirstN or CrushStepKind.ChooseLeafFirstN;
                    bool toLeaf = step.Kind is CrushStepKind.ChooseLeafFirstN or CrushStepKind.ChooseLeafIndep;
                    int toCount = 0;
                    for (int i = 0; i < fromCount; i++)
                    {
                        int wanted = argument > 0 ? argument : argument + width;
                        if (wanted <= 0 || BucketAt(from[i]) is not { } bucket)
                        {
                            continue;
                        }

                        scoped Span<int> chosen = to[toCount..];
                        if (firstN)
                        {
                            uint recurseTries = leafTries != 0 ? leafTries : tunables.ChooseLeafDescendOnce != 0 ? 1 : tries;
                            toCount += ChooseFirstN(bucket, wanted, step.Argument2, chosen, 0, width - toCount, tries, recurseTries, toLeaf, leaves[toCount..], 0);
                        }
                        else
                        {
                            int count = Math.Min(wanted, width - toCount);
                            ChooseIndep(bucket, count, wanted, step.Argument2, chosen, 0, tries, leafTries != 0 ? leafTries : 1, toLeaf, leaves[toCount..], 0);
                            toCount += count;
                        }
                    }

                    if (toLeaf)
                    {
                        leaves[..toCount].CopyTo(to);
                    }

                    fromStart = width - fromStart;
                    fromCount = toCount;
                    break;

                case CrushStepKind.Emit:
                    int emitted = Math.Min(fromCount, width - resultCount);
                    from[..emitted].CopyTo(result[resultCount..]);
                    resultCount += emitted;
                    fromCount = 0;
                    break;
            }
        }

        return resultCount;
    }

    /// <summary>Chooses distinct items one replica after the other, each depending on those before.</summary>
    /// <param name="bucket">Where every descent starts.</param>
    /// <param name="wanted">Replica ranks run up to this.</param>
    /// <param name="type">The type to choose.</param>
    /// <param name="chosen">Filled from <paramref name="position"/>; what stands before collides.</param>
    /// <param name="position">Where to put the next.</param>
    /// <param name="room">How many may be chosen.</param>
    /// <param name="tries">Tries of the whole descent for each replica.</param>
    /// <param name="recurseTries">Tries of the choice below.</param>
    /// <param name="toLeaf">Whether to choose a device below each item.</param>
    /// <param name="leaves">Those devices, in step with <paramref name="chosen"/>.</param>
    /// <param name="parentRank">Added to the replica's rank, so that nested choices differ.</param>
    /// <returns>The position after the last chosen.</returns>
    private int ChooseFirstN(
        CrushBucket bucket, int wanted, int type, scoped Span<int> chosen, int position, int room, uint tries, uint recurseTries, bool toLeaf, scoped Span<int> leaves, int parentRank)
    {
        for (int replica = _stable ? 0 : position; replica < wanted && room > 0; replica++)
        {
            uint failures = 0;
            int item = ChooseReplica(bucket, replica + parentRank, type, chosen, position, room, tries, recurseTries, toLeaf, leaves, ref failures);
            if (item != ItemUndefined)
            {
                chosen[position++] = item;
                room--;
            }
        }

        return position;
    }

    private int ChooseReplica(
        CrushBucket start, int rank, int type, scoped Span<int> chosen, int position, int room, uint tries, uint recurseTries, bool toLeaf, scoped Span<int> leaves, ref uint failures)
    {
        while (true)
        {
            CrushBucket within = start;
            uint localFailures = 0;
            while (true)
            {
                bool collides = false;
                bool rejected;
                int r = rank + (int)failures;
                if (within.Size == 0)
                {
                    rejected = true;
                }
                else
                {
                    int item = _fallbackTries > 0 && localFailures >= (uint)within.Size >> 1 && localFailures > _fallbackTries
                        ? ChoosePermuted(within, r)
                        : Choose(within, r, position);
                    if (item >= _maxDevices)
                    {
                        return ItemUndefined;
                    }

                    int itemType = item < 0 ? _types[~item] : 0;
                    if (itemType != type)
                    {
                        if (item >= 0)
                        {
                            return ItemUndefined;
                        }

                        within = _buckets[~item]!;
                        continue;
                    }

                    collides = chosen[..position].Contains(item);
                    rejected = !collides
                        && ((toLeaf && !ChooseLeafBelow(item, r, position, room, recurseTries, leaves)) || (itemType == 0 && IsOut(item)));
                    if (!collides && !rejected)
                    {
                        return item;
                    }
                }

                failures++;
                localFailures++;
                if (collides && localFailures <= _localTries)
                {
                    continue;
                }

                if (_fallbackTries > 0 && localFailures <= (uint)within.Size + _fallbackTries)
                {
                    continue;
                }

                if (failures < tries)
                {
                    break;
                }

                return ItemUndefined;
            }
        }
    }

    private bool ChooseLeafBelow(int item, int r, int position, int room, uint recurseTries, scoped Span<int> leaves)
    {
        if (item >= 0)
        {
            leaves[position] = item;
            return true;
        }

        int parentRank = _varyR != 0 ? r >> (_varyR - 1) : 0;
        return ChooseFirstN(_buckets[~item]!, _stable ? 1 : position + 1, 0, leaves, position, room, recurseTries, 0, false, default, parentRank) > position;
    }

    /// <summary>Chooses distinct items breadth first; a position that fails stays a hole and does not shift the others.</summary>
    private void ChooseIndep(
        CrushBucket bucket, int count, int wanted, int type, scoped Span<int> chosen, int position, uint tries, uint recurseTries, bool toLeaf, scoped Span<int> leaves, int parentRank)
    {
        int open = count;
        int end = position + count;
        chosen[position..end].Fill(ItemUndefined);
        if (toLeaf)
        {
            leaves[position..end].Fill(ItemUndefined);
        }

        for (uint failures = 0; open > 0 && failures < tries; failures++)
        {
            for (int at = position; at < end; at++)
            {
                if (chosen[at] != ItemUndefined)
                {
                    continue;
                }

                int item = ChoosePosition(bucket, at, position, end, wanted, failures, type, chosen, recurseTries, toLeaf, leaves, parentRank);
                if (item == ItemUndefined)
                {
                    continue;
                }

                chosen[at] = item;
                if (item == CrushMap.ItemNone && toLeaf)
                {
                    leaves[at] = item;
                }

                open--;
            }
        }

        Close(chosen[position..end]);
        if (toLeaf)
        {
            Close(leaves[position..end]);
        }
    }

    // ItemUndefined: try again later. ItemNone: this position is lost.
    private int ChoosePosition(
        CrushBucket start, int at, int position, int end, int wanted, uint failures, int type, scoped Span<int> chosen, uint recurseTries, bool toLeaf, scoped Span<int> leaves, int parentRank)
    {
        CrushBucket within = start;
        while (true)
        {
            // A step of wanted + 1 keeps a uniform bucket's permutation from repeating the same few items.
            uint stride = within.Algorithm == CrushBucketAlgorithm.Uniform && within.Size % wanted == 0 ? (uint)wanted + 1 : (uint)wanted;
            int r = at + parentRank + (int)(stride * failures);
            if (within.Size == 0)
            {
                return ItemUndefined;
            }

            int item = Choose(within, r, position);
            if (item >= _maxDevices)
            {
                return CrushMap.ItemNone;
            }

            int itemType = item < 0 ? _types[~item] : 0;
            if (itemType != type)
            {
                if (item >= 0)
                {
                    return CrushMap.ItemNone;
                }

                within = _buckets[~item]!;
                continue;
            }

            if (chosen[position..end].Contains(item))
            {
                return ItemUndefined;
            }

            if (toLeaf)
            {
                if (item < 0)
                {
                    ChooseIndep(_buckets[~item]!, 1, wanted, 0, leaves, at, recurseTries, 0, false, default, r);
                    if (leaves[at] == CrushMap.ItemNone)
                    {
                        return ItemUndefined;
                    }
                }
                else
                {
                    leaves[at] = item;
                }
            }

            return itemType == 0 && IsOut(item) ? ItemUndefined : item;
        }
    }

    private static void Close(Span<int> items) => items.Replace(ItemUndefined, CrushMap.ItemNone);

    private readonly bool IsDevice(int item) => (uint)item < (uint)_maxDevices;

    private readonly CrushBucket? BucketAt(int item) => item < 0 && ~item < _buckets.Length ? _buckets[~item] : null;

    // A device that is partly in takes the inputs whose hash falls below its weight.
    private readonly bool IsOut(int device)
    {
        if (device >= _weights.Length)
        {
            return true;
        }

        uint weight = _weights[device];
        return weight < CrushMap.WeightOne && (weight == 0 || (CrushHash.Hash2(_x, (uint)device) & 0xffff) >= weight);
    }
}
