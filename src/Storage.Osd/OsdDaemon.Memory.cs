using System.Globalization;
using Storage.ObjectStore;

namespace Storage.Osd;

// The memory target, from the cluster's configuration.
public sealed partial class OsdDaemon
{
    /// <summary>Name of the setting: bytes of resident memory an OSD should have, also as 512MiB or 2GiB.</summary>
    public const string MemoryTargetSetting = "osd_memory_target";

    private const long DefaultMemoryTarget = 1L << 30;
    private const long LeastMemoryTarget = 256L << 20;
    private string? _memoryTargetText;

    private void ApplyMemorySettings()
    {
        if (_store is not IMemoryTarget store)
        {
            return;
        }

        string? text = SettingText(MemoryTargetSetting);
        if (text == _memoryTargetText && store.MemoryTargetBytes > 0)
        {
            return;
        }

        _memoryTargetText = text;
        if (text is null)
        {
            store.MemoryTargetBytes = DefaultMemoryTarget;
        }
        else if (TryParseBytes(text, out long bytes) && bytes >= LeastMemoryTarget)
        {
            store.MemoryTargetBytes = bytes;
        }
        else
        {
            Log.MemoryTargetRefused(_logger, text, LeastMemoryTarget, store.MemoryTargetBytes);
        }
    }

    private static bool TryParseBytes(string text, out long bytes)
    {
        int shift = text.EndsWith("MiB", StringComparison.Ordinal) ? 20 : text.EndsWith("GiB", StringComparison.Ordinal) ? 30 : 0;
        bool good = long.TryParse(shift == 0 ? text : text.AsSpan(0, text.Length - 3), NumberStyles.None, CultureInfo.InvariantCulture, out bytes) && bytes <= long.MaxValue >> shift;
        bytes <<= shift;
        return good;
    }
}
