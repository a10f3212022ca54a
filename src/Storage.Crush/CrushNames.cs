using System.Buffers;

namespace Storage.Crush;

/// <summary>Which names a map accepts for types, items, classes and rules.</summary>
internal static class CrushNames
{
    private static readonly SearchValues<char> s_allowed =
        SearchValues.Create("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.");

    internal static bool IsValid(string name) => name.Length > 0 && !name.AsSpan().ContainsAnyExcept(s_allowed);

    internal static string Check(string name, string what) => IsValid(name)
        ? name
        : throw new ArgumentException($"'{name}' is no {what}: letters, digits, '-', '_' and '.' are allowed.", nameof(name));
}
