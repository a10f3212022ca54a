using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace Storage.S3.Backend;

/// <summary>Records as JSON, checked.</summary>
internal static class Json
{
    internal static byte[] Write<T>(T value, JsonTypeInfo<T> type) => JsonSerializer.SerializeToUtf8Bytes(value, type);

    internal static T Read<T>(ReadOnlySpan<byte> data, JsonTypeInfo<T> type)
    {
        try
        {
            return JsonSerializer.Deserialize(data, type) ?? throw new Coding.MalformedDataException($"a record of type {typeof(T).Name} is null");
        }
        catch (JsonException error)
        {
            throw new Coding.MalformedDataException($"a record of type {typeof(T).Name} does not parse: {error.Message}", error);
        }
    }
}
