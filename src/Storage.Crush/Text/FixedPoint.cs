using System.Globalization;

namespace Storage.Crush.Text;

/// <summary>16.16 weights in text: three decimals, by way of a 32-bit float, as in crushtool.</summary>
internal static class FixedPoint
{
    /// <summary>A weight with three decimals, ties to even.</summary>
    internal static string Format(uint weight)
    {
        // Crushtool's detour through a float drops what is beyond 24 bits. It also reads the weight as signed.
        long value = (long)(float)(int)weight;
        string sign = value < 0 ? "-" : "";
        value = Math.Abs(value) * 1000;
        long thousandths = value >> 16;
        long rest = value & 0xffff;
        if (rest > 0x8000 || (rest == 0x8000 && (thousandths & 1) != 0))
        {
            thousandths++;
        }

        return string.Create(CultureInfo.InvariantCulture, $"{sign}{thousandths / 1000}.{thousandths % 1000:D3}");
    }

    /// <summary>The weight for a number from an operator; rounds to the nearest representable one.</summary>
    internal static uint FromNumber(double weight, string what)
    {
        double scaled = Math.Round(weight * CrushMap.WeightOne);
        return scaled is >= 0 and <= uint.MaxValue
            ? (uint)scaled
            : throw new ArgumentException($"{what} has weight {weight.ToString(CultureInfo.InvariantCulture)}; weights run from 0 to 65535.", nameof(weight));
    }
}
