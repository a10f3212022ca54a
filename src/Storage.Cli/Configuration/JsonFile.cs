using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;
using Storage.Cli.Commands;

namespace Storage.Cli.Configuration;

/// <summary>Small configuration files, replaced whole.</summary>
internal static class JsonFile
{
    public static T? TryRead<T>(string path, JsonTypeInfo<T> type) where T : class
    {
        if (!File.Exists(path))
        {
            return null;
        }

        try
        {
            return JsonSerializer.Deserialize(File.ReadAllBytes(path), type) ?? throw new CliException($"{path} is empty.");
        }
        catch (JsonException e)
        {
            throw new CliException($"{path} is damaged: {e.Message}", e);
        }
    }

    public static void CheckVersion(string path, int version, int known)
    {
        if (version != known)
        {
            throw new CliException($"{path} has version {version}; this program knows version {known}.");
        }
    }

    /// <summary>Writes a file so that either the old or the new content is there after a crash.</summary>
    public static void Write<T>(string path, T value, JsonTypeInfo<T> type, bool ownerOnly = false)
    {
        string temporary = path + ".new";
        var options = new FileStreamOptions { Mode = FileMode.Create, Access = FileAccess.Write };
        if (ownerOnly)
        {
            options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        }

        using (var stream = new FileStream(temporary, options))
        {
            JsonSerializer.Serialize(stream, value, type);
            stream.WriteByte((byte)'\n');
            stream.Flush(flushToDisk: true);
        }

        File.Move(temporary, path, overwrite: true);
    }
}

/// <summary>JSON of the configuration files, generated at build time so that the command starts quickly.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, WriteIndented = true, UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow)]
[JsonSerializable(typeof(ClusterFile))]
[JsonSerializable(typeof(DaemonFile))]
[JsonSerializable(typeof(S3Credentials))]
internal sealed partial class ConfigurationJson : JsonSerializerContext;
