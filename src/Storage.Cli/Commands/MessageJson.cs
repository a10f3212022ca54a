using System.Collections;
using System.Text;
using System.Text.Json;
using Google.Protobuf;
using Google.Protobuf.Reflection;

namespace Storage.Cli.Commands;

/// <summary>
/// Replies as JSON for scripts: names as in the .proto file, every field present, numbers as numbers (also 64-bit ones, which
/// protobuf's own mapping makes strings), enums as their short names in lower case.
/// </summary>
internal static class MessageJson
{
    public static string Write(IMessage message) => Write(writer => WriteMessage(writer, message));

    /// <summary>Indented JSON made by a function.</summary>
    public static string Write(Action<Utf8JsonWriter> write)
    {
        using var stream = new MemoryStream();
        using (var writer = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true, Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            write(writer);
        }

        return Encoding.UTF8.GetString(stream.ToArray());
    }

    /// <summary>The short name of an enum value: HEALTH_STATUS_OK becomes HEALTH_OK, as operators know it; others lose their prefix.</summary>
    public static string ShortName(EnumDescriptor type, int number)
    {
        string name = type.FindValueByNumber(number)?.Name ?? number.ToString(System.Globalization.CultureInfo.InvariantCulture);
        if (type.Name == "HealthStatus")
        {
            return name.Replace("HEALTH_STATUS_", "HEALTH_", StringComparison.Ordinal);
        }

        string prefix = Prefix(type.Name);
        return (name.StartsWith(prefix, StringComparison.Ordinal) ? name[prefix.Length..] : name).ToLowerInvariant();
    }

    public static void WriteMessage(Utf8JsonWriter writer, IMessage message)
    {
        writer.WriteStartObject();
        foreach (FieldDescriptor field in message.Descriptor.Fields.InDeclarationOrder())
        {
            if (field.HasPresence && !field.Accessor.HasValue(message))
            {
                continue;
            }

            writer.WritePropertyName(field.Name);
            object? value = field.Accessor.GetValue(message);
            if (field.IsMap)
            {
                writer.WriteStartObject();
                FieldDescriptor valueField = field.MessageType.FindFieldByNumber(2);
                foreach (DictionaryEntry entry in (IDictionary)value)
                {
                    writer.WritePropertyName(FormattableString.Invariant($"{entry.Key}"));
                    WriteValue(writer, valueField, entry.Value!);
                }

                writer.WriteEndObject();
            }
            else if (field.IsRepeated)
            {
                writer.WriteStartArray();
                foreach (object item in (IEnumerable)value)
                {
                    WriteValue(writer, field, item);
                }

                writer.WriteEndArray();
            }
            else
            {
                WriteValue(writer, field, value);
            }
        }

        writer.WriteEndObject();
    }

    private static void WriteValue(Utf8JsonWriter writer, FieldDescriptor field, object value)
    {
        switch (value)
        {
            case IMessage message:
                WriteMessage(writer, message);
                break;
            case string text:
                writer.WriteStringValue(text);
                break;
            case bool flag:
                writer.WriteBooleanValue(flag);
                break;
            case int number:
                writer.WriteNumberValue(number);
                break;
            case uint number:
                writer.WriteNumberValue(number);
                break;
            case long number:
                writer.WriteNumberValue(number);
                break;
            case ulong number:
                writer.WriteNumberValue(number);
                break;
            case double number when double.IsFinite(number):
                writer.WriteNumberValue(number);
                break;
            case double or float:
                writer.WriteNullValue();
                break;
            case ByteString bytes:
                writer.WriteStringValue(bytes.ToBase64());
                break;
            case Enum:
                writer.WriteStringValue(ShortName(field.EnumType, Convert.ToInt32(value, System.Globalization.CultureInfo.InvariantCulture)));
                break;
            default:
                throw new InvalidOperationException($"{field.FullName} is a {value.GetType()}, for which there is no JSON form.");
        }
    }

    private static string Prefix(string typeName)
    {
        var prefix = new StringBuilder();
        foreach (char c in typeName)
        {
            if (char.IsUpper(c) && prefix.Length > 0)
            {
                prefix.Append('_');
            }

            prefix.Append(char.ToUpperInvariant(c));
        }

        return prefix.Append('_').ToString();
    }
}
