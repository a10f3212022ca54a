using Storage.Cluster;
using Storage.Crush;

namespace Storage.Monitor.Core;

/// <summary>How the monitors use CRUSH: the founding map, and names of items and rules.</summary>
public static class CrushPlan
{
    /// <summary>The root that new OSDs come under.</summary>
    public const string Root = "default";

    /// <summary>A new cluster's CRUSH map: an empty root, and rules <c>replicated_rule</c> (copies on different OSDs) and
    /// <c>replicated_host</c> (on different hosts).</summary>
    /// <returns>The map.</returns>
    public static CrushMap Initial() => CrushMap.CreateDefault("osd").WithReplicatedRule("replicated_host", Root, "host");

    /// <summary>An OSD's name in the CRUSH map.</summary>
    /// <param name="osd">The OSD.</param>
    /// <returns>As in <c>osd.3</c>.</returns>
    public static string NameOf(OsdId osd) => osd.ToString();

    /// <summary>The name of the rule for a failure domain and device class.</summary>
    /// <param name="failureDomain">A type of bucket.</param>
    /// <param name="deviceClass">Or empty.</param>
    /// <returns>The name.</returns>
    public static string RuleName(string failureDomain, string deviceClass) =>
        (failureDomain == "osd" ? "replicated_rule" : "replicated_" + failureDomain) + (deviceClass.Length == 0 ? "" : "_" + deviceClass);
}
