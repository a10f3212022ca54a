using System.Globalization;
using System.Reflection;
using Storage.Messaging;
using Storage.Osd.Protocol;

namespace Storage.Simulation.Tracing;

/// <summary>Names of messages, those between OSDs included, which the messaging layer knows by number only.</summary>
internal static class MessageNames
{
    private static readonly Dictionary<MessageType, string> s_names = Collect();

    /// <summary>A message's name.</summary>
    public static string Of(MessageType type) =>
        s_names.TryGetValue(type, out string? name) ? name : ((ushort)type).ToString("x", CultureInfo.InvariantCulture);

    private static Dictionary<MessageType, string> Collect()
    {
        var names = new Dictionary<MessageType, string>();
        foreach (MessageType type in Enum.GetValues<MessageType>())
        {
            names[type] = type.ToString();
        }

        foreach (FieldInfo field in typeof(OsdMessageType).GetFields(BindingFlags.Public | BindingFlags.Static))
        {
            if (field.Name is not (nameof(OsdMessageType.LastOfGroup) or nameof(OsdMessageType.FirstOfGroupMore) or nameof(OsdMessageType.LastOfGroupMore)) && field.GetRawConstantValue() is ushort number)
            {
                names[(MessageType)number] = field.Name;
            }
        }

        return names;
    }
}
