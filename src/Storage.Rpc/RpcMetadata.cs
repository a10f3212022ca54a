using System.Collections;
using System.Diagnostics.CodeAnalysis;
using System.Text;

namespace Storage.Rpc;

/// <summary>One header or trailer of a call.</summary>
/// <param name="Key">Lower case; a name that ends in "-bin" carries bytes.</param>
/// <param name="Bytes">The value: ASCII text, or any bytes for a "-bin" key.</param>
public readonly record struct RpcMetadataEntry(string Key, ReadOnlyMemory<byte> Bytes)
{
    /// <summary>Whether the key carries bytes.</summary>
    public bool IsBinary => Key.EndsWith(RpcMetadata.BinarySuffix, StringComparison.Ordinal);

    /// <summary>The value as text.</summary>
    public string Text => Encoding.ASCII.GetString(Bytes.Span);
}

/// <summary>Headers or trailers of a call, in order; a key may occur more than once. Not safe for concurrent changes.</summary>
[SuppressMessage("Naming", "CA1710:Identifiers should have correct suffix", Justification = "Metadata is gRPC's term.")]
public sealed class RpcMetadata : IReadOnlyCollection<RpcMetadataEntry>
{
    internal const string BinarySuffix = "-bin";
    private readonly List<RpcMetadataEntry> _entries = [];

    /// <inheritdoc/>
    public int Count => _entries.Count;

    /// <summary>Adds a text value.</summary>
    /// <param name="key">Letters, digits, '-', '_' and '.'; made lower case; neither "grpc-…" nor "…-bin".</param>
    /// <param name="value">Printable ASCII.</param>
    /// <exception cref="ArgumentException">Key or value is not allowed.</exception>
    public void Add(string key, string value)
    {
        ArgumentNullException.ThrowIfNull(value);
        key = CheckKey(key, binary: false);
        foreach (char c in value)
        {
            if (c is < ' ' or > '~')
            {
                throw new ArgumentException($"Metadata '{key}' has a character outside printable ASCII; use a \"-bin\" key.", nameof(value));
            }
        }

        _entries.Add(new RpcMetadataEntry(key, Encoding.ASCII.GetBytes(value)));
    }

    /// <summary>Adds a binary value.</summary>
    /// <param name="key">As for text, but ends in "-bin".</param>
    /// <param name="value">Any bytes; kept, not copied.</param>
    /// <exception cref="ArgumentException">The key is not allowed.</exception>
    public void Add(string key, ReadOnlyMemory<byte> value) => _entries.Add(new RpcMetadataEntry(CheckKey(key, binary: true), value));

    /// <summary>The last text value of a key, or null.</summary>
    /// <param name="key">Lower case.</param>
    public string? GetText(string key) => Find(key) is { } entry ? entry.Text : null;

    /// <summary>The last value of a key as bytes, or null.</summary>
    /// <param name="key">Lower case.</param>
    public ReadOnlyMemory<byte>? GetBytes(string key) => Find(key)?.Bytes;

    /// <inheritdoc/>
    public IEnumerator<RpcMetadataEntry> GetEnumerator() => _entries.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    /// <summary>Adds what came off the wire; HTTP's own headers and gRPC's are left out.</summary>
    internal void AddFromWire(string name, string value)
    {
        string key = name.ToLowerInvariant();
        if (!IsValidKey(key) || IsReserved(key))
        {
            return;
        }

        if (!key.EndsWith(BinarySuffix, StringComparison.Ordinal))
        {
            _entries.Add(new RpcMetadataEntry(key, Encoding.ASCII.GetBytes(value)));
            return;
        }

        // Several values of one binary key may arrive joined by commas.
        foreach (string part in value.Split(','))
        {
            if (!TryDecodeBase64(part.AsSpan().Trim(), out byte[]? bytes))
            {
                throw new RpcException(StatusCode.Internal, $"Metadata '{key}' is not valid base64.");
            }

            _entries.Add(new RpcMetadataEntry(key, bytes));
        }
    }

    /// <summary>The value as it stands in an HTTP header; base64 without padding for binary ones.</summary>
    internal static string ToWire(RpcMetadataEntry entry) =>
        entry.IsBinary ? Convert.ToBase64String(entry.Bytes.Span).TrimEnd('=') : entry.Text;

    private RpcMetadataEntry? Find(string key)
    {
        for (int i = _entries.Count - 1; i >= 0; i--)
        {
            if (_entries[i].Key == key)
            {
                return _entries[i];
            }
        }

        return null;
    }

    private static string CheckKey(string key, bool binary)
    {
        ArgumentNullException.ThrowIfNull(key);
        key = key.ToLowerInvariant();
        if (!IsValidKey(key) || IsReserved(key))
        {
            throw new ArgumentException($"'{key}' cannot be a metadata key.", nameof(key));
        }

        if (key.EndsWith(BinarySuffix, StringComparison.Ordinal) != binary)
        {
            throw new ArgumentException($"Metadata '{key}': keys of binary values, and only those, end in \"-bin\".", nameof(key));
        }

        return key;
    }

    private static bool IsValidKey(string key)
    {
        foreach (char c in key)
        {
            if (!(char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c is '-' or '_' or '.'))
            {
                return false;
            }
        }

        return key.Length > 0;
    }

    private static bool IsReserved(string key) =>
        key.StartsWith("grpc-", StringComparison.Ordinal)
        || key is "content-type" or "content-length" or "te" or "host" or "connection" or "transfer-encoding" or "date" or "server" or "trailer";

    private static bool TryDecodeBase64(ReadOnlySpan<char> text, [NotNullWhen(true)] out byte[]? bytes)
    {
        // Senders may leave the padding out.
        string padded = text.ToString().PadRight((text.Length + 3) / 4 * 4, '=');
        bytes = new byte[padded.Length / 4 * 3];
        if (!Convert.TryFromBase64String(padded, bytes, out int written))
        {
            bytes = null;
            return false;
        }

        bytes = bytes[..written];
        return true;
    }
}
