using System.Globalization;

namespace Storage.Cli.Commands;

/// <summary>Sizes and rates as people write and read them.</summary>
internal static class Amount
{
    private static readonly string[] s_units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

    /// <summary>Reads <c>4GiB</c>, <c>4G</c>, <c>512M</c>, <c>1.5T</c> or plain bytes. Units are powers of 1024; <c>GB</c> and the like of 1000.</summary>
    /// <exception cref="CliException">It is no size, is negative or is not a whole number of bytes.</exception>
    public static long ParseBytes(string text)
    {
        ReadOnlySpan<char> rest = text.AsSpan().Trim();
        int digits = 0;
        while (digits < rest.Length && (char.IsAsciiDigit(rest[digits]) || rest[digits] == '.'))
        {
            digits++;
        }

        string unit = rest[digits..].Trim().ToString().ToUpperInvariant();
        decimal scale = 1;
        if (unit is not ("" or "B"))
        {
            int power = "KMGTPE".IndexOf(unit[0], StringComparison.Ordinal) + 1;
            decimal step = unit[1..] switch
            {
                "" or "IB" or "I" => 1024,
                "B" => 1000,
                _ => 0,
            };
            if (power == 0 || step == 0)
            {
                throw Malformed(text);
            }

            for (int i = 0; i < power; i++)
            {
                scale *= step;
            }
        }

        if (!decimal.TryParse(rest[..digits], NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out decimal number)
            || number > long.MaxValue / scale)
        {
            throw Malformed(text);
        }

        decimal bytes = number * scale;
        return bytes == decimal.Truncate(bytes) ? (long)bytes : throw new CliException($"'{text}' is not a whole number of bytes.");
    }

    /// <summary>Reads a number such as 0.8; a comma does not pass for anything, though some countries write 0,8.</summary>
    /// <exception cref="CliException">It is no number.</exception>
    public static double ParseNumber(string text) =>
        double.TryParse(text, NumberStyles.AllowLeadingSign | NumberStyles.AllowDecimalPoint | NumberStyles.AllowExponent, CultureInfo.InvariantCulture, out double number) && double.IsFinite(number)
            ? number
            : throw new CliException($"'{text}' is no number; write for example 0.8.");

    /// <summary>Bytes with three or four digits and a unit.</summary>
    public static string Bytes(double bytes)
    {
        int unit = 0;
        while (Math.Abs(bytes) >= 1024 && unit < s_units.Length - 1)
        {
            bytes /= 1024;
            unit++;
        }

        string format = unit == 0 || bytes >= 100 || bytes == Math.Truncate(bytes) ? "0" : bytes >= 10 ? "0.0" : "0.00";
        return string.Create(CultureInfo.InvariantCulture, $"{bytes.ToString(format, CultureInfo.InvariantCulture)} {s_units[unit]}");
    }

    /// <summary>A count with thousands kept apart.</summary>
    public static string Count(double count) => count.ToString("#,0", CultureInfo.InvariantCulture);

    /// <summary>A length of time in its two largest units.</summary>
    public static string Duration(TimeSpan time) =>
        time.TotalDays >= 1 ? $"{(int)time.TotalDays}d {time.Hours}h"
        : time.TotalHours >= 1 ? $"{time.Hours}h {time.Minutes}m"
        : time.TotalMinutes >= 1 ? $"{time.Minutes}m {time.Seconds}s"
        : string.Create(CultureInfo.InvariantCulture, $"{time.TotalSeconds:0.0}s");

    private static CliException Malformed(string text) => new($"'{text}' is no size; write for example 4GiB, 512M or 1048576.");

    /// <summary>Reads a time: a number and s, m, h, d or w; seconds without one.</summary>
    /// <exception cref="CliException">The text is no time, or not from one second to ten years.</exception>
    public static TimeSpan ParseDuration(string text)
    {
        ReadOnlySpan<char> digits = text.AsSpan().Trim();
        double unit = digits.Length == 0 ? 0 : digits[^1] switch { 's' => 1, 'm' => 60, 'h' => 3600, 'd' => 86_400, 'w' => 604_800, _ => 0 };
        digits = unit == 0 ? digits : digits[..^1];
        return double.TryParse(digits, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double number)
            && number * (unit == 0 ? 1 : unit) is >= 1 and <= 315_360_000 and double seconds
            ? TimeSpan.FromSeconds(seconds)
            : throw new CliException($"'{text}' is no time; write 30s, 15m, 4h, 2d or 1w.");
    }
}
