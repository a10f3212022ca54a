namespace Storage.Cli.Local;

/// <summary>What the user asked for; null takes what the folder says, or the default for a new one.</summary>
internal sealed record LocalRequest(string Folder, int? PortBase, int? Monitors, int? Osds, long? OsdBytes, bool FaultInjection = true, bool SingleProcess = false);
