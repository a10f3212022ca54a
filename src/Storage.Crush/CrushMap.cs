namespace Storage.Crush;

#pragma warning disable CS1591, CA1822, CA1801
public sealed class CrushMap
{
    public const int ItemNone = 0x7fffffff;

    public static CrushMap Decode(ReadOnlySpan<byte> bytes) => throw new InvalidOperationException("replaced by the CRUSH work");

    public byte[] Encode() => throw new InvalidOperationException("replaced by the CRUSH work");

    public int Map(int ruleId, uint x, Span<int> result, ReadOnlySpan<uint> weights, long chooseArgsId = -1) => throw new InvalidOperationException("replaced by the CRUSH work");
}
