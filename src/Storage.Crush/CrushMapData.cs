namespace Storage.Crush;

/// <summary>The contents of a map, in the shape of the binary form. Mutable while a builder or reader owns it; a <see cref="CrushMap"/> freezes it.</summary>
internal sealed class CrushMapData
{
    /// <summary>Index -1 - id; null where there is no bucket. The length is kept by the binary form.</summary>
    internal CrushBucket?[] Buckets = [];

    /// <summary>Index id; null where there is no rule.</summary>
    private const int MostTries = 1_000;
    private const int MostChosen = 1024;

    internal CrushRule?[] Rules = [];

    internal int MaxDevices;
    internal CrushTunables Tunables = CrushTunables.Legacy;
    internal SortedDictionary<int, string> TypeNames = [];
    internal SortedDictionary<int, string> ItemNames = [];
    internal SortedDictionary<int, string> RuleNames = [];

    /// <summary>The class id of devices and of shadow buckets.</summary>
    internal SortedDictionary<int, int> ItemClasses = [];

    internal SortedDictionary<int, string> ClassNames = [];

    /// <summary>Bucket id → class id → id of its shadow.</summary>
    internal SortedDictionary<int, SortedDictionary<int, int>> Shadows = [];

    /// <summary>Set id → arguments, index -1 - bucket id.</summary>
    internal SortedDictionary<long, CrushChooseArgument?[]> ChooseArgs = [];

    internal CrushMapData Clone()
    {
        var copy = new CrushMapData
        {
            Buckets = [.. Buckets],
            Rules = [.. Rules],
            MaxDevices = MaxDevices,
            Tunables = Tunables,
            TypeNames = new(TypeNames),
            ItemNames = new(ItemNames),
            RuleNames = new(RuleNames),
            ItemClasses = new(ItemClasses),
            ClassNames = new(ClassNames),
        };
        foreach ((int bucket, SortedDictionary<int, int> shadows) in Shadows)
        {
            copy.Shadows.Add(bucket, new(shadows));
        }

        foreach ((long id, CrushChooseArgument?[] arguments) in ChooseArgs)
        {
            copy.ChooseArgs.Add(id, [.. arguments]);
        }

        return copy;
    }

    internal CrushBucket? BucketAt(int id) => id < 0 && ~id < Buckets.Length ? Buckets[~id] : null;

    internal bool IsShadow(int bucket) => bucket < 0 && ItemNames.TryGetValue(bucket, out string? name) && name.Contains('~', StringComparison.Ordinal);

    /// <summary>Puts a bucket into the table, which grows by doubling from eight.</summary>
    internal void Put(CrushBucket bucket)
    {
        int index = ~bucket.Id;
        int size = Buckets.Length;
        while (index >= size)
        {
            size = size == 0 ? 8 : size * 2;
        }

        Array.Resize(ref Buckets, size);
        Buckets[index] = bucket;
    }

    internal void Put(CrushRule rule)
    {
        if (rule.Id >= Rules.Length)
        {
            Array.Resize(ref Rules, rule.Id + 1);
        }

        Rules[rule.Id] = rule;
    }

    internal int HighestDevicePlusOne()
    {
        int max = 0;
        foreach (CrushBucket? bucket in Buckets)
        {
            foreach (int item in bucket?.ItemArray ?? [])
            {
                max = Math.Max(max, item + 1);
            }
        }

        return max;
    }

    /// <summary>The largest bucket of which a permutation may be asked.</summary>
    internal int LargestPermutation()
    {
        bool any = Tunables.ChooseLocalFallbackTries > 0;
        foreach (CrushRule? rule in Rules)
        {
            foreach (CrushStep step in rule?.StepArray ?? [])
            {
                any |= step.Kind == CrushStepKind.SetChooseLocalFallbackTries && step.Argument1 > 0;
            }
        }

        int largest = 0;
        foreach (CrushBucket? bucket in Buckets)
        {
            if (bucket is not null && (any || bucket.Algorithm == CrushBucketAlgorithm.Uniform))
            {
                largest = Math.Max(largest, bucket.Size);
            }
        }

        return largest;
    }

    // Placement runs on the data path: a map in which one mapping may take minutes is as bad as one that crashes.
    private static void CheckTries(int tries, string what)
    {
        if (tries > MostTries)
        {
            throw new CrushFormatException($"{what} is {tries}; at most {MostTries} are accepted.");
        }
    }

    /// <summary>Checks what mapping relies on: tries are bounded, children exist, nothing contains itself, choose_args fit their buckets.</summary>
    internal void Validate()
    {
        CheckTries(Tunables.ChooseLocalTries, "choose_local_tries");
        CheckTries(Tunables.ChooseLocalFallbackTries, "choose_local_fallback_tries");
        CheckTries(Tunables.ChooseTotalTries, "choose_total_tries");
        foreach (CrushRule? rule in Rules)
        {
            foreach (CrushStep step in rule is null ? default : rule.Steps)
            {
                if (step.Kind is CrushStepKind.SetChooseTries or CrushStepKind.SetChooseLeafTries
                    or CrushStepKind.SetChooseLocalTries or CrushStepKind.SetChooseLocalFallbackTries)
                {
                    CheckTries(step.Argument1, "a step's number of tries");
                }

                if (step.Kind is CrushStepKind.ChooseFirstN or CrushStepKind.ChooseLeafFirstN or CrushStepKind.ChooseIndep or CrushStepKind.ChooseLeafIndep
                    && step.Argument1 > MostChosen)
                {
                    throw new CrushFormatException($"A step chooses {step.Argument1} items; at most {MostChosen} are accepted.");
                }
            }
        }

        for (int i = 0; i < Buckets.Length; i++)
        {
            CrushBucket? bucket = Buckets[i];
            if (bucket is null)
            {
                continue;
            }

            if (bucket.Id != ~i)
            {
                throw new CrushFormatException($"The bucket in place {i} has id {bucket.Id} instead of {~i}.");
            }

            if (bucket.Type <= 0)
            {
                throw new CrushFormatException($"Bucket {bucket.Id} has type {bucket.Type}; a bucket's type is at least 1.");
            }

            foreach (int item in bucket.ItemArray)
            {
                if (item < 0 && BucketAt(item) is null)
                {
                    throw new CrushFormatException($"Bucket {bucket.Id} contains bucket {item}, which does not exist.");
                }

                if (item >= CrushMap.ItemNone - 1)
                {
                    throw new CrushFormatException($"Bucket {bucket.Id} contains device {item}; ids from {CrushMap.ItemNone - 1} are reserved.");
                }
            }
        }

        CheckAcyclic();
        foreach ((long id, CrushChooseArgument?[] arguments) in ChooseArgs)
        {
            for (int i = 0; i < arguments.Length; i++)
            {
                if (arguments[i] is { } argument)
                {
                    CheckArgument(id, ~i, argument);
                }
            }
        }
    }

    private void CheckArgument(long set, int bucketId, CrushChooseArgument argument)
    {
        CrushBucket bucket = BucketAt(bucketId)
            ?? throw new CrushFormatException($"choose_args {set} name bucket {bucketId}, which does not exist.");
        foreach (uint[] weights in argument.WeightSets)
        {
            if (weights.Length != bucket.Size)
            {
                throw new CrushFormatException($"choose_args {set} give bucket {bucketId} {weights.Length} weights; it has {bucket.Size} items.");
            }
        }

        if (argument.Ids is { } ids && ids.Length != bucket.Size)
        {
            throw new CrushFormatException($"choose_args {set} give bucket {bucketId} {ids.Length} ids; it has {bucket.Size} items.");
        }
    }

    // Removes leaves of the graph until none is left; what remains is on a cycle or above one.
    private void CheckAcyclic()
    {
        var pending = new int[Buckets.Length];
        var parents = new List<int>?[Buckets.Length];
        var ready = new Stack<int>();
        int total = 0;
        for (int i = 0; i < Buckets.Length; i++)
        {
            if (Buckets[i] is not { } bucket)
            {
                continue;
            }

            total++;
            foreach (int item in bucket.ItemArray)
            {
                if (item < 0)
                {
                    pending[i]++;
                    (parents[~item] ??= []).Add(i);
                }
            }

            if (pending[i] == 0)
            {
                ready.Push(i);
            }
        }

        while (ready.TryPop(out int done))
        {
            total--;
            foreach (int parent in parents[done] ?? [])
            {
                if (--pending[parent] == 0)
                {
                    ready.Push(parent);
                }
            }
        }

        if (total > 0)
        {
            int on = Array.FindIndex(pending, count => count > 0);
            throw new CrushFormatException($"Bucket {~on} contains itself, directly or through others.");
        }
    }
}
