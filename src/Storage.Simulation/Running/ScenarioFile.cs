using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Storage.Simulation.Faults;

namespace Storage.Simulation.Running;

/// <summary>
/// Scenarios as JSON: numbers by name, <c>faults</c> with the weight of each kind, and <c>plan</c> with the very faults where they are not
/// to be drawn. What a file does not mention has its default. <c>//</c> begins a comment.
/// </summary>
public static class ScenarioFile
{
    private static readonly JsonDocumentOptions s_reading = new() { CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true };
    private static readonly JsonSerializerOptions s_writing = new() { WriteIndented = true };

    /// <summary>Reads a scenario.</summary>
    /// <param name="text">JSON.</param>
    /// <param name="name">Its name.</param>
    /// <returns>The scenario.</returns>
    /// <exception cref="FormatException">It makes no sense; the message says where.</exception>
    public static Scenario Parse(string text, string name)
    {
        ArgumentNullException.ThrowIfNull(text);
        var scenario = new Scenario { Name = name };
        try
        {
            using JsonDocument document = JsonDocument.Parse(text, s_reading);
            foreach (JsonProperty property in Members(document.RootElement, name))
            {
                scenario = property.Name switch
                {
                    "faults" => scenario with { Faults = ReadMix(property.Value, name) },
                    "plan" => scenario with { Plan = ReadPlan(property.Value, name) },
                    "description" => scenario,
                    "name" => scenario with { Name = property.Value.GetString() ?? name },
                    "beyond_redundancy" => scenario with { BeyondRedundancy = property.Value.GetBoolean() },
                    _ => scenario.With(property.Name, Number(property.Value, $"{name}, {property.Name}"))
                        ?? throw new FormatException($"{name}: unknown key '{property.Name}'"),
                };
            }
        }
        catch (JsonException e)
        {
            throw new FormatException($"{name}, line {e.LineNumber + 1}: {e.Message}", e);
        }
        catch (InvalidOperationException e)
        {
            throw new FormatException($"{name}: {e.Message}", e);
        }

        scenario.Validate();
        return scenario;
    }

    /// <summary>Writes a scenario with all that decides a run besides the seed.</summary>
    /// <param name="scenario">The scenario.</param>
    /// <returns>JSON that <see cref="Parse"/> reads.</returns>
    public static string Write(Scenario scenario)
    {
        ArgumentNullException.ThrowIfNull(scenario);
        var json = new JsonObject { ["name"] = scenario.Name };
        foreach ((string key, double value) in scenario.Numbers)
        {
            json[key] = value;
        }

        json["beyond_redundancy"] = scenario.BeyondRedundancy;
        json["faults"] = new JsonObject(scenario.Faults.OrderBy(f => f.Key).Select(f => KeyValuePair.Create(NameOf(f.Key), (JsonNode?)f.Value)));
        if (scenario.Plan is { } plan)
        {
            json["plan"] = new JsonArray([.. plan.Faults.Select(fault => (JsonNode)new JsonObject
            {
                ["at_s"] = fault.At.TotalSeconds,
                ["kind"] = NameOf(fault.Kind),
                ["targets"] = new JsonArray([.. fault.Targets.Select(target => (JsonNode)target)]),
                ["for_s"] = fault.Duration.TotalSeconds,
            })]);
        }

        return json.ToJsonString(s_writing);
    }

    private static string NameOf(FaultKind kind)
    {
        var name = new StringBuilder();
        foreach (char c in kind.ToString())
        {
            name.Append(char.IsUpper(c) && name.Length > 0 ? "_" : "").Append(char.ToLowerInvariant(c));
        }

        return name.ToString();
    }

    // To the tick that was written: cut off instead of rounded, one plan in a few would be another.
    private static TimeSpan Seconds(double seconds) => TimeSpan.FromTicks((long)Math.Round(seconds * TimeSpan.TicksPerSecond));

    private static FaultKind KindOf(string text, string where) =>
        Enum.TryParse(text.Replace("_", "", StringComparison.Ordinal), true, out FaultKind kind) && Enum.IsDefined(kind)
            ? kind
            : throw new FormatException($"{where}: no fault '{text}'; there are {string.Join(", ", Enum.GetValues<FaultKind>().Select(NameOf))}");

    private static SortedDictionary<FaultKind, double> ReadMix(JsonElement mix, string name)
    {
        var faults = new SortedDictionary<FaultKind, double>();
        foreach (JsonProperty fault in Members(mix, $"{name}, faults"))
        {
            faults[KindOf(fault.Name, name)] = Number(fault.Value, $"{name}, faults, {fault.Name}");
        }

        return faults;
    }

    private static FaultPlan ReadPlan(JsonElement plan, string name)
    {
        var faults = new List<Fault>();
        foreach (JsonElement fault in plan.EnumerateArray())
        {
            string where = string.Create(CultureInfo.InvariantCulture, $"{name}, fault {faults.Count + 1} of the plan");
            double at = 0, duration = 0;
            FaultKind? kind = null;
            int[] targets = [0, 0, 0, 0];
            foreach (JsonProperty part in Members(fault, where))
            {
                switch (part.Name)
                {
                    case "at_s":
                        at = Number(part.Value, where);
                        break;
                    case "for_s":
                        duration = Number(part.Value, where);
                        break;
                    case "kind":
                        kind = KindOf(part.Value.GetString() ?? "", where);
                        break;
                    case "targets":
                        int[] given = [.. part.Value.EnumerateArray().Select(target => (int)Number(target, where))];
                        given.AsSpan(0, Math.Min(given.Length, targets.Length)).CopyTo(targets);
                        break;
                    default:
                        throw new FormatException($"{where}: unknown key '{part.Name}'");
                }
            }

            faults.Add(new Fault(Seconds(at), kind ?? throw new FormatException($"{where}: no kind"), targets, Seconds(duration)));
        }

        return new FaultPlan([.. faults.OrderBy(fault => fault.At)]);
    }

    private static JsonElement.ObjectEnumerator Members(JsonElement element, string where) => element.ValueKind == JsonValueKind.Object
        ? element.EnumerateObject()
        : throw new FormatException($"{where}: not an object in braces");

    private static double Number(JsonElement value, string where) =>
        value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out double number) && number is >= 0 and <= 1e9
            ? number
            : throw new FormatException($"{where}: '{value}' is no number from 0 to 1000000000");
}
