namespace Storage.Crush.Text;

/// <summary>Buckets: read first, defined afterwards, because one may name another that stands further down.</summary>
internal sealed partial class CrushTextCompiler
{
    private sealed record ItemText(CrushToken Name, uint? Weight, CrushToken WeightToken, int Position);

    private sealed class BucketText(int type, CrushToken name)
    {
        internal readonly int Type = type;
        internal readonly CrushToken Name = name;
        internal readonly List<ItemText> Items = [];
        internal readonly SortedDictionary<int, int> ShadowIds = [];
        internal int Id;
        internal CrushBucketAlgorithm Algorithm;
        internal bool Started;
        internal bool Defined;
    }

    private void ParseBucket(int type, CrushToken typeToken)
    {
        CrushToken name = Name("a bucket name");
        if (_items.ContainsKey(name.Text) || _buckets.Exists(b => b.Name.Text == name.Text))
        {
            throw name.Error($"'{name.Text}' is already defined");
        }

        if (type == 0)
        {
            throw typeToken.Error($"type '{typeToken.Text}' is the devices' type (0); a bucket needs another");
        }

        var bucket = new BucketText(type, name);
        Take("{");
        while (_tokens.TryTake("id"))
        {
            ParseBucketId(bucket);
        }

        Take("alg");
        CrushToken algorithm = _tokens.Next();
        bucket.Algorithm = algorithm.Text switch
        {
            "uniform" => CrushBucketAlgorithm.Uniform,
            "list" => CrushBucketAlgorithm.List,
            "tree" => CrushBucketAlgorithm.Tree,
            "straw" => CrushBucketAlgorithm.Straw,
            "straw2" => CrushBucketAlgorithm.Straw2,
            _ => throw algorithm.Expected("a bucket algorithm (uniform, list, tree, straw, straw2)"),
        };
        while (_tokens.TryTake("hash"))
        {
            CrushToken hash = _tokens.Next();
            if (hash.Text is not ("0" or "rjenkins1"))
            {
                throw hash.Expected("a hash, 0 or rjenkins1");
            }
        }

        while (!_tokens.TryTake("}"))
        {
            if (!_tokens.TryTake("item"))
            {
                throw _tokens.Peek.Expected("'item' or '}'");
            }

            ParseItem(bucket);
        }

        _buckets.Add(bucket);
    }

    private void ParseBucketId(BucketText bucket)
    {
        CrushToken at = _tokens.Peek;
        int id = Integer("a bucket id");
        if (id >= 0)
        {
            throw at.Expected("a bucket id, which is negative");
        }

        // The table of buckets is as long as the lowest id is far from zero.
        if (id < -(1 << 24))
        {
            throw at.Error($"bucket id {id} is too far from zero");
        }

        if (!_tokens.TryTake("class"))
        {
            bucket.Id = id;
            return;
        }

        CrushToken className = Name("a device class");
        if (!bucket.ShadowIds.TryAdd(Class(className), id))
        {
            throw className.Error($"bucket '{bucket.Name.Text}' has two ids for class '{className.Text}'");
        }
    }

    private void ParseItem(BucketText bucket)
    {
        CrushToken name = Name("the name of a device or bucket");
        uint? weight = null;
        CrushToken weightToken = default;
        if (_tokens.TryTake("weight"))
        {
            weightToken = _tokens.Peek;
            weight = Weight(_items.TryGetValue(name.Text, out int id) && id >= 0 ? MaxDeviceWeight : MaxBucketWeight);
        }

        int position = -1;
        if (_tokens.TryTake("pos"))
        {
            CrushToken at = _tokens.Peek;
            position = PositiveInteger("a position");
            if (bucket.Items.Exists(i => i.Position == position))
            {
                throw at.Error($"position {position} of bucket '{bucket.Name.Text}' is already taken");
            }
        }

        bucket.Items.Add(new ItemText(name, weight, weightToken, position));
    }

    private void DefineBuckets()
    {
        var used = new HashSet<int>();
        foreach (BucketText bucket in _buckets)
        {
            used.UnionWith(bucket.ShadowIds.Values);
            used.Add(bucket.Id);
        }

        var byName = _buckets.ToDictionary(b => b.Name.Text, StringComparer.Ordinal);
        foreach (BucketText bucket in _buckets)
        {
            DefineBucket(bucket, byName, used);
        }
    }

    private void DefineBucket(BucketText bucket, Dictionary<string, BucketText> byName, HashSet<int> used)
    {
        if (bucket.Defined)
        {
            return;
        }

        bucket.Started = true;
        foreach (ItemText item in bucket.Items)
        {
            if (byName.TryGetValue(item.Name.Text, out BucketText? child))
            {
                if (child.Started && !child.Defined)
                {
                    throw item.Name.Error($"bucket '{child.Name.Text}' contains itself, directly or through others");
                }

                DefineBucket(child, byName, used);
            }
            else if (!_items.ContainsKey(item.Name.Text))
            {
                throw item.Name.Error($"item '{item.Name.Text}' in bucket '{bucket.Name.Text}' is not defined");
            }
        }

        (int[] items, uint[] weights) = Arrange(bucket);
        int id = bucket.Id;
        if (id == 0)
        {
            for (id = -1; !used.Add(id); id--)
            {
            }
        }

        if (_data.BucketAt(id) is not null)
        {
            throw bucket.Name.Error($"bucket id {id} is used twice");
        }

        CrushBucket built;
        try
        {
            built = CrushBucket.Create(id, bucket.Type, bucket.Algorithm, items, weights, _data.Tunables.StrawCalcVersion);
        }
        catch (ArgumentException e)
        {
            throw bucket.Name.Error(e.Message);
        }

        _data.Put(built);
        Define(bucket.Name, id);
        if (bucket.ShadowIds.Count > 0)
        {
            _shadowIds[id] = bucket.ShadowIds;
            _data.Shadows[id] = bucket.ShadowIds;
        }

        bucket.Defined = true;
    }

    private (int[] Items, uint[] Weights) Arrange(BucketText bucket)
    {
        int size = bucket.Items.Count;
        var items = new int[size];
        var weights = new uint[size];
        var taken = bucket.Items.Where(i => i.Position >= 0).Select(i => i.Position).ToHashSet();
        int next = 0;
        uint? uniform = null;
        foreach (ItemText item in bucket.Items)
        {
            int position = item.Position;
            if (position >= size)
            {
                throw item.Name.Error($"item '{item.Name.Text}' has position {position}; bucket '{bucket.Name.Text}' has {size} items");
            }

            if (position < 0)
            {
                while (!taken.Add(next))
                {
                    next++;
                }

                position = next;
            }

            int id = _items[item.Name.Text];
            uint weight = item.Weight ?? (id < 0 ? _data.Buckets[~id]!.Weight : CrushMap.WeightOne);
            uniform ??= weight;
            if (bucket.Algorithm == CrushBucketAlgorithm.Uniform && weight != uniform)
            {
                CrushToken at = item.WeightToken.Line == 0 ? item.Name : item.WeightToken;
                throw at.Error($"item '{item.Name.Text}' of uniform bucket '{bucket.Name.Text}' has weight {FixedPoint.Format(weight)}, those before {FixedPoint.Format(uniform.Value)}; all must be equal");
            }

            items[position] = id;
            weights[position] = weight;
        }

        return (items, weights);
    }
}
