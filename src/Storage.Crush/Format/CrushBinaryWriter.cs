using System.Buffers;
using System.Buffers.Binary;
using System.Text;

namespace Storage.Crush.Format;

/// <summary>Writes Ceph's binary map: little-endian, no lengths around parts, optional parts at the end in the order in which releases added them.</summary>
internal sealed class CrushBinaryWriter
{
    internal const uint Magic = 0x00010000;

    private readonly ArrayBufferWriter<byte> _out = new(4096);

    internal static byte[] Write(CrushMapData data)
    {
        var writer = new CrushBinaryWriter();
        writer.WriteMap(data);
        return writer._out.WrittenSpan.ToArray();
    }

    private void WriteMap(CrushMapData data)
    {
        U32(Magic);
        I32(data.Buckets.Length);
        I32(data.Rules.Length);
        I32(data.MaxDevices);
        foreach (CrushBucket? bucket in data.Buckets)
        {
            Bucket(bucket);
        }

        foreach (CrushRule? rule in data.Rules)
        {
            Rule(rule);
        }

        Names(data.TypeNames);
        Names(data.ItemNames);
        Names(data.RuleNames);
        Tunables(data.Tunables);
        Integers(data.ItemClasses);
        Names(data.ClassNames);
        I32(data.Shadows.Count);
        foreach ((int bucket, SortedDictionary<int, int> shadows) in data.Shadows)
        {
            I32(bucket);
            Integers(shadows);
        }

        I32(data.ChooseArgs.Count);
        foreach ((long id, CrushChooseArgument?[] arguments) in data.ChooseArgs)
        {
            I64(id);
            I32(arguments.Count(argument => argument is not null));
            for (int i = 0; i < arguments.Length; i++)
            {
                if (arguments[i] is { } argument)
                {
                    I32(i);
                    Argument(argument);
                }
            }
        }
    }

    private void Bucket(CrushBucket? bucket)
    {
        U32((uint)(bucket?.Algorithm ?? 0));
        if (bucket is null)
        {
            return;
        }

        I32(bucket.Id);
        U16((ushort)bucket.Type);
        U8((byte)bucket.Algorithm);
        U8(0); // CRUSH_HASH_RJENKINS1
        U32(bucket.Weight);
        I32(bucket.Size);
        foreach (int item in bucket.Items)
        {
            I32(item);
        }

        switch (bucket.Algorithm)
        {
            case CrushBucketAlgorithm.Uniform:
                U32(bucket.UniformWeight);
                break;
            case CrushBucketAlgorithm.Tree:
                U8((byte)bucket.Extra.Length);
                foreach (uint weight in bucket.Extra)
                {
                    U32(weight);
                }

                break;
            default:
                for (int i = 0; i < bucket.Size; i++)
                {
                    U32(bucket.WeightArray[i]);
                    if (bucket.Algorithm != CrushBucketAlgorithm.Straw2)
                    {
                        U32(bucket.Extra[i]);
                    }
                }

                break;
        }
    }

    private void Rule(CrushRule? rule)
    {
        U32(rule is null ? 0u : 1u);
        if (rule is null)
        {
            return;
        }

        I32(rule.StepArray.Length);
        U8((byte)rule.Ruleset);
        U8((byte)rule.Type);
        U8((byte)rule.MinSize);
        U8((byte)rule.MaxSize);
        foreach (CrushStep step in rule.Steps)
        {
            I32((int)step.Kind);
            I32(step.Argument1);
            I32(step.Argument2);
        }
    }

    private void Tunables(CrushTunables tunables)
    {
        I32(tunables.ChooseLocalTries);
        I32(tunables.ChooseLocalFallbackTries);
        I32(tunables.ChooseTotalTries);
        I32(tunables.ChooseLeafDescendOnce);
        U8((byte)tunables.ChooseLeafVaryR);
        U8((byte)tunables.StrawCalcVersion);
        I32(tunables.AllowedBucketAlgorithms);
        U8((byte)tunables.ChooseLeafStable);
    }

    private void Argument(CrushChooseArgument argument)
    {
        I32(argument.WeightSets.Length);
        foreach (uint[] weights in argument.WeightSets)
        {
            I32(weights.Length);
            foreach (uint weight in weights)
            {
                U32(weight);
            }
        }

        I32(argument.Ids?.Length ?? 0);
        foreach (int id in argument.Ids ?? [])
        {
            I32(id);
        }
    }

    private void Names(SortedDictionary<int, string> names)
    {
        I32(names.Count);
        foreach ((int key, string name) in names)
        {
            I32(key);
            int length = Encoding.UTF8.GetByteCount(name);
            I32(length);
            Encoding.UTF8.GetBytes(name, _out.GetSpan(length));
            _out.Advance(length);
        }
    }

    private void Integers(SortedDictionary<int, int> values)
    {
        I32(values.Count);
        foreach ((int key, int value) in values)
        {
            I32(key);
            I32(value);
        }
    }

    private void U8(byte value)
    {
        _out.GetSpan(1)[0] = value;
        _out.Advance(1);
    }

    private void U16(ushort value)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(_out.GetSpan(2), value);
        _out.Advance(2);
    }

    private void U32(uint value)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(_out.GetSpan(4), value);
        _out.Advance(4);
    }

    private void I32(int value) => U32((uint)value);

    private void I64(long value)
    {
        BinaryPrimitives.WriteInt64LittleEndian(_out.GetSpan(8), value);
        _out.Advance(8);
    }
}
