namespace Storage.Crush.Mapping;

/// <summary>The choice of one item within one bucket, by algorithm.</summary>
internal ref partial struct Mapper
{
    private int Choose(CrushBucket bucket, int r, int position)
    {
        switch (bucket.Algorithm)
        {
            case CrushBucketAlgorithm.Straw2:
                CrushChooseArgument? argument = _arguments is { } set && ~bucket.Id < set.Length ? set[~bucket.Id] : null;
                return argument is null
                    ? Straw2.Choose(bucket.ItemArray, bucket.ItemArray, bucket.WeightArray, _x, (uint)r)
                    : Straw2.Choose(
                        bucket.ItemArray,
                        argument.Ids ?? bucket.ItemArray,
                        argument.WeightSets.Length == 0 ? bucket.WeightArray : argument.WeightSets[Math.Min(position, argument.WeightSets.Length - 1)],
                        _x,
                        (uint)r);
            case CrushBucketAlgorithm.Uniform:
                return ChoosePermuted(bucket, r);
            case CrushBucketAlgorithm.List:
                return ChooseFromList(bucket, (uint)r);
            case CrushBucketAlgorithm.Tree:
                return ChooseFromTree(bucket, (uint)r);
            default:
                return ChooseStraw(bucket, (uint)r);
        }
    }

    // The permutation depends on the input and the bucket only; it is worked out as far as needed and kept for the next
    // choice from the same bucket.
    private int ChoosePermuted(CrushBucket bucket, int r)
    {
        int size = bucket.Size;
        int index = (int)((uint)r % (uint)size);
        if (_permutationBucket != bucket.Id)
        {
            if (index == 0)
            {
                return bucket.ItemArray[CrushHash.Hash3(_x, (uint)bucket.Id, 0) % (uint)size];
            }

            _permutationBucket = bucket.Id;
            _permutationDone = 0;
            for (int i = 0; i < size; i++)
            {
                _permutation[i] = i;
            }
        }

        for (; _permutationDone <= index; _permutationDone++)
        {
            int p = _permutationDone;
            if (p < size - 1)
            {
                int other = p + (int)(CrushHash.Hash3(_x, (uint)bucket.Id, (uint)p) % (uint)(size - p));
                (_permutation[p], _permutation[other]) = (_permutation[other], _permutation[p]);
            }
        }

        return bucket.ItemArray[_permutation[index]];
    }

    // From the newest item down: each keeps the draw in proportion to its share of the weights up to it.
    private readonly int ChooseFromList(CrushBucket bucket, uint r)
    {
        int[] items = bucket.ItemArray;
        for (int i = items.Length - 1; i >= 0; i--)
        {
            ulong draw = CrushHash.Hash4(_x, (uint)items[i], r, (uint)bucket.Id) & 0xffff;
            if (((draw * bucket.Extra[i]) >> 16) < bucket.WeightArray[i])
            {
                return items[i];
            }
        }

        return items[0];
    }

    private readonly int ChooseFromTree(CrushBucket bucket, uint r)
    {
        uint[] nodes = bucket.Extra;
        int node = nodes.Length >> 1;
        while ((node & 1) == 0)
        {
            ulong draw = ((ulong)CrushHash.Hash4(_x, (uint)node, r, (uint)bucket.Id) * nodes[node]) >> 32;
            int half = 1 << (TreeBucket.Height(node) - 1);
            node = draw < nodes[node - half] ? node - half : node + half;
        }

        // A tree of zero weight leads to its last leaf, which a tree that is not full does not have.
        int leaf = node >> 1;
        return leaf < bucket.ItemArray.Length ? bucket.ItemArray[leaf] : ItemUndefined;
    }

    private readonly int ChooseStraw(CrushBucket bucket, uint r)
    {
        int[] items = bucket.ItemArray;
        int best = 0;
        ulong longest = 0;
        for (int i = 0; i < items.Length; i++)
        {
            ulong draw = (ulong)(CrushHash.Hash3(_x, (uint)items[i], r) & 0xffff) * bucket.Extra[i];
            if (draw > longest)
            {
                best = i;
                longest = draw;
            }
        }

        return items[best];
    }
}
