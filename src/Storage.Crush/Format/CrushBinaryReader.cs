using System.Buffers.Binary;
using System.Text;

namespace Storage.Crush.Format;

/// <summary>Reads Ceph's binary map. Every count is checked against the bytes that are left before anything is allocated.</summary>
internal ref struct CrushBinaryReader
{
    private static readonly UTF8Encoding s_utf8 = new(false, true);

    private readonly ReadOnlySpan<byte> _bytes;
    private int _at;

    private CrushBinaryReader(ReadOnlySpan<byte> bytes) => _bytes = bytes;

    private readonly bool AtEnd => _at == _bytes.Length;

    internal static CrushMapData Read(ReadOnlySpan<byte> bytes)
    {
        var reader = new CrushBinaryReader(bytes);
        CrushMapData data = reader.ReadMap();
        if (!reader.AtEnd)
        {
            throw new CrushFormatException($"CRUSH map: {bytes.Length - reader._at} bytes follow its end at byte {reader._at}.");
        }

        return data;
    }

    private CrushMapData ReadMap()
    {
        uint magic = U32("the magic number");
        if (magic != CrushBinaryWriter.Magic)
        {
            throw new CrushFormatException($"Not a CRUSH map: it starts with 0x{magic:x8} instead of 0x{CrushBinaryWriter.Magic:x8}.");
        }

        int buckets = Count("the number of buckets", 0);
        int rules = Count("the number of rules", 0);
        int devices = I32("the number of devices");
        CheckFits(buckets, 4, "buckets");
        CheckFits(rules, 4, "rules");
        if (devices < 0)
        {
            throw new CrushFormatException($"CRUSH map: {devices} devices.");
        }

        var data = new CrushMapData { Buckets = new CrushBucket?[buckets], Rules = new CrushRule?[rules], MaxDevices = devices };
        for (int i = 0; i < buckets; i++)
        {
            data.Buckets[i] = Bucket(i);
        }

        for (int i = 0; i < rules; i++)
        {
            data.Rules[i] = Rule(i);
        }

        Names(data.TypeNames, "type names");
        Names(data.ItemNames, "item names");
        Names(data.RuleNames, "rule names");
        data.Tunables = Tunables();
        if (!AtEnd)
        {
            Integers(data.ItemClasses, "device classes");
            Names(data.ClassNames, "class names");
            int shadowed = Count("the number of shadowed buckets", 8);
            for (int i = 0; i < shadowed; i++)
            {
                var shadows = new SortedDictionary<int, int>();
                data.Shadows[I32("a shadowed bucket")] = shadows;
                Integers(shadows, "shadow buckets");
            }
        }

        if (!AtEnd)
        {
            ChooseArgs(data);
        }

        return data;
    }

    private CrushBucket? Bucket(int index)
    {
        uint present = U32("a bucket's algorithm");
        if (present == 0)
        {
            return null;
        }

        int id = I32("a bucket's id");
        int type = U16("a bucket's type");
        int algorithm = U8("a bucket's algorithm");
        int hash = U8("a bucket's hash");
        uint weight = U32("a bucket's weight");
        if (id != ~index)
        {
            throw new CrushFormatException($"CRUSH map: the bucket in place {index} has id {id} instead of {~index}.");
        }

        if (hash != 0)
        {
            throw new CrushFormatException($"CRUSH map: bucket {id} uses hash {hash}; only 0 (rjenkins1) is known.");
        }

        int size = Count("a bucket's size", 4);
        var items = new int[size];
        for (int i = 0; i < size; i++)
        {
            items[i] = I32("a bucket's item");
        }

        var weights = new uint[size];
        uint[] extra = [];
        uint uniform = 0;
        switch ((CrushBucketAlgorithm)algorithm)
        {
            case CrushBucketAlgorithm.Uniform:
                uniform = U32("a uniform bucket's weight");
                Array.Fill(weights, uniform);
                break;

            case CrushBucketAlgorithm.Tree:
                extra = TreeNodes(id, size);
                for (int i = 0; i < size; i++)
                {
                    weights[i] = extra[(i << 1) + 1];
                }

                break;

            case CrushBucketAlgorithm.List:
            case CrushBucketAlgorithm.Straw:
                CheckFits(size, 8, "weights");
                extra = new uint[size];
                for (int i = 0; i < size; i++)
                {
                    weights[i] = U32("an item's weight");
                    extra[i] = U32("an item's sum or straw");
                }

                break;

            case CrushBucketAlgorithm.Straw2:
                CheckFits(size, 4, "weights");
                for (int i = 0; i < size; i++)
                {
                    weights[i] = U32("an item's weight");
                }

                break;

            default:
                throw new CrushFormatException($"CRUSH map: bucket {id} has unknown algorithm {algorithm}.");
        }

        return new CrushBucket(id, type, (CrushBucketAlgorithm)algorithm, weight, items, weights, extra, uniform);
    }

    private uint[] TreeNodes(int id, int size)
    {
        int count = U8("a tree's node count");
        int expected = size == 0 ? 0 : 2 * (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)size);
        if (count != expected)
        {
            throw new CrushFormatException($"CRUSH map: tree bucket {id} with {size} items has {count} nodes instead of {expected}.");
        }

        CheckFits(count, 4, "tree nodes");
        var nodes = new uint[count];
        for (int i = 0; i < count; i++)
        {
            nodes[i] = U32("a tree node's weight");
        }

        return nodes;
    }

    private CrushRule? Rule(int id)
    {
        if (U32("whether a rule exists") == 0)
        {
            return null;
        }

        int length = I32("a rule's length");
        int ruleset = U8("a rule's ruleset");
        int type = U8("a rule's type");
        int minSize = U8("a rule's minimum size");
        int maxSize = U8("a rule's maximum size");
        CheckFits(length, 12, "rule steps");
        var steps = new CrushStep[length];
        for (int i = 0; i < length; i++)
        {
            int kind = I32("a step");
            if (!Enum.IsDefined((CrushStepKind)kind))
            {
                throw new CrushFormatException($"CRUSH map: rule {id} has a step of unknown kind {kind}.");
            }

            steps[i] = new CrushStep((CrushStepKind)kind, I32("a step's argument"), I32("a step's argument"));
        }

        return new CrushRule(id, ruleset, (CrushRuleType)type, minSize, maxSize, steps);
    }

    // Each release appended some; what is missing has the value of the release that did not know it.
    private CrushTunables Tunables()
    {
        CrushTunables tunables = CrushTunables.Legacy;
        if (!AtEnd)
        {
            tunables = tunables with { ChooseLocalTries = Tries(), ChooseLocalFallbackTries = Tries(), ChooseTotalTries = Tries() };
        }

        if (!AtEnd)
        {
            tunables = tunables with { ChooseLeafDescendOnce = I32("a tunable") };
        }

        if (!AtEnd)
        {
            tunables = tunables with { ChooseLeafVaryR = U8("a tunable") };
        }

        if (!AtEnd)
        {
            tunables = tunables with { StrawCalcVersion = U8("a tunable") };
        }

        if (!AtEnd)
        {
            tunables = tunables with { AllowedBucketAlgorithms = I32("a tunable") };
        }

        if (!AtEnd)
        {
            tunables = tunables with { ChooseLeafStable = U8("a tunable") };
        }

        return tunables;
    }

    private int Tries()
    {
        int value = I32("a tunable");
        return value is >= 0 and < int.MaxValue ? value : throw new CrushFormatException($"CRUSH map: a tunable of {(uint)value} tries.");
    }

    private void ChooseArgs(CrushMapData data)
    {
        int sets = Count("the number of choose_args", 12);
        for (int i = 0; i < sets; i++)
        {
            long id = I64("a choose_args id");
            int arguments = Count("the number of choose_args of a set", 12);
            var set = new CrushChooseArgument?[data.Buckets.Length];
            for (int j = 0; j < arguments; j++)
            {
                uint index = U32("a bucket's index");
                if (index >= (uint)set.Length || data.Buckets[index] is null)
                {
                    throw new CrushFormatException($"CRUSH map: choose_args {id} name the bucket in place {index}, which does not exist.");
                }

                set[index] = Argument();
            }

            data.ChooseArgs[id] = set;
        }
    }

    private CrushChooseArgument? Argument()
    {
        int positions = Count("the number of weight sets", 4);
        var weightSets = new uint[positions][];
        for (int p = 0; p < positions; p++)
        {
            weightSets[p] = new uint[Count("a weight set's size", 4)];
            for (int i = 0; i < weightSets[p].Length; i++)
            {
                weightSets[p][i] = U32("a weight");
            }
        }

        int count = Count("the number of replacement ids", 4);
        int[]? ids = count == 0 ? null : new int[count];
        for (int i = 0; i < count; i++)
        {
            ids![i] = I32("a replacement id");
        }

        return positions == 0 && ids is null ? null : new CrushChooseArgument(weightSets, ids);
    }

    // Some old encoders wrote 64-bit keys; names are never empty, so a zero where the length stands is a key's upper half.
    private void Names(SortedDictionary<int, string> names, string what)
    {
        int count = Count(what, 8);
        for (int i = 0; i < count; i++)
        {
            int key = I32(what);
            int length = I32(what);
            if (length == 0)
            {
                length = I32(what);
            }

            ReadOnlySpan<byte> bytes = Take(length, what);
            try
            {
                names[key] = s_utf8.GetString(bytes);
            }
            catch (DecoderFallbackException e)
            {
                throw new CrushFormatException($"CRUSH map: one of the {what} at byte {_at - length} is not UTF-8.", e);
            }
        }
    }

    private void Integers(SortedDictionary<int, int> values, string what)
    {
        int count = Count(what, 8);
        for (int i = 0; i < count; i++)
        {
            int key = I32(what);
            values[key] = I32(what);
        }
    }

    private int Count(string what, int bytesEach)
    {
        int count = I32(what);
        CheckFits(count, bytesEach, what);
        return count;
    }

    private readonly void CheckFits(int count, int bytesEach, string what)
    {
        if (count < 0 || (long)count * bytesEach > _bytes.Length - _at)
        {
            throw new CrushFormatException($"CRUSH map: {what} at byte {_at}: {(uint)count} do not fit into the {_bytes.Length - _at} bytes that are left.");
        }
    }

    private ReadOnlySpan<byte> Take(int length, string what)
    {
        if (length < 0 || length > _bytes.Length - _at)
        {
            throw new CrushFormatException($"CRUSH map: cut off at byte {_bytes.Length}, in {what}.");
        }

        ReadOnlySpan<byte> taken = _bytes.Slice(_at, length);
        _at += length;
        return taken;
    }

    private byte U8(string what) => Take(1, what)[0];

    private ushort U16(string what) => BinaryPrimitives.ReadUInt16LittleEndian(Take(2, what));

    private uint U32(string what) => BinaryPrimitives.ReadUInt32LittleEndian(Take(4, what));

    private int I32(string what) => BinaryPrimitives.ReadInt32LittleEndian(Take(4, what));

    private long I64(string what) => BinaryPrimitives.ReadInt64LittleEndian(Take(8, what));
}
