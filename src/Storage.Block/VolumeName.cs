using System.Diagnostics.CodeAnalysis;

namespace Storage.Block;

/// <summary>A volume as users name it: <c>NAME</c>, <c>POOL/NAME</c>, and either with <c>@SNAPSHOT</c>.</summary>
/// <param name="Pool">The pool; <see cref="DefaultPool"/> if none was given.</param>
/// <param name="Name">The volume.</param>
/// <param name="Snapshot">The snapshot, or null for the volume itself.</param>
public sealed record VolumeName(string Pool, string Name, string? Snapshot = null)
{
    /// <summary>The pool of volumes that are named without one.</summary>
    public const string DefaultPool = "volumes";

    /// <summary>The longest name of a pool, volume or snapshot, in characters.</summary>
    public const int LongestPart = 128;

    /// <inheritdoc/>
    public override string ToString() => (Pool == DefaultPool ? Name : Pool + "/" + Name) + (Snapshot is null ? "" : "@" + Snapshot);

    /// <summary>Whether a text may be the name of a volume or snapshot: 1 to <see cref="LongestPart"/> letters, digits, dots, hyphens
    /// and underscores (ASCII), not beginning with a dot or hyphen.</summary>
    /// <param name="text">The text.</param>
    /// <returns>True if so.</returns>
    public static bool IsValidPart([NotNullWhen(true)] string? text)
    {
        if (string.IsNullOrEmpty(text) || text.Length > LongestPart || text[0] is '.' or '-')
        {
            return false;
        }

        foreach (char c in text)
        {
            if (!char.IsAsciiLetterOrDigit(c) && c is not ('.' or '-' or '_'))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Reads a name.</summary>
    /// <param name="text">The text.</param>
    /// <returns>The name.</returns>
    /// <exception cref="VolumeException">The text is no name; says which part is wrong.</exception>
    public static VolumeName Parse(string text)
    {
        int slash = text.IndexOf('/', StringComparison.Ordinal);
        string pool = slash < 0 ? DefaultPool : text[..slash];
        string rest = text[(slash + 1)..];
        int at = rest.IndexOf('@', StringComparison.Ordinal);
        string name = at < 0 ? rest : rest[..at];
        string? snapshot = at < 0 ? null : rest[(at + 1)..];
        Check("pool", pool, text);
        Check("volume", name, text);
        if (snapshot is not null)
        {
            Check("snapshot", snapshot, text);
        }

        return new VolumeName(pool, name, snapshot);
    }

    private static void Check(string what, string part, string text)
    {
        if (!IsValidPart(part))
        {
            string shown = part.Length > LongestPart ? $"of {part.Length} characters" : $"'{part}'";
            throw new VolumeException(
                VolumeProblem.Invalid,
                $"{what} name {shown} in '{(text.Length > 400 ? text[..400] : text)}' is not valid: 1 to {LongestPart} letters, digits, '.', '-' or '_', not beginning with '.' or '-'");
        }
    }
}
