using System.Globalization;

namespace Storage.Crush.Testing;

/// <summary>The verbs of <c>storage crush</c>: compile, decompile, test. Takes the words after <c>crush</c>.</summary>
public static class CrushCommand
{
    /// <summary>How to call it.</summary>
    public const string Usage = """
        storage crush compile MAP.txt -o MAP.bin
        storage crush decompile MAP.bin [-o MAP.txt]
        storage crush test MAP [--rule N] [--num-rep N | --min-rep N --max-rep N] [--min-x N] [--max-x N] [--x N]
                           [--weight OSD W]… [--pool-id P]
                           [--show-mappings] [--show-bad-mappings] [--show-statistics] [--show-utilization] [--show-utilization-all]
        """;

    /// <summary>Runs one command. MAP may be a binary or a text map.</summary>
    /// <param name="arguments">The verb and its arguments.</param>
    /// <param name="output">Where results go.</param>
    /// <param name="error">Where complaints go.</param>
    /// <returns>The process's exit code: 0 done, 1 a bad map or arguments.</returns>
    public static int Run(IReadOnlyList<string> arguments, TextWriter output, TextWriter error)
    {
        ArgumentNullException.ThrowIfNull(arguments);
        string file = arguments.Count > 1 ? arguments[1] : "";
        try
        {
            switch (arguments.Count > 0 ? arguments[0] : "")
            {
                case "compile" when file.Length > 0:
                    byte[] compiled = CrushMap.CompileText(File.ReadAllText(file)).Encode();
                    File.WriteAllBytes(OutputFile(arguments) ?? throw new ArgumentException("compile needs -o FILE for the binary map."), compiled);
                    return 0;

                case "decompile" when file.Length > 0:
                    string text = CrushMap.Decode(File.ReadAllBytes(file)).DecompileText();
                    if (OutputFile(arguments) is { } target)
                    {
                        File.WriteAllText(target, text);
                    }
                    else
                    {
                        output.Write(text);
                    }

                    return 0;

                case "test" when file.Length > 0:
                    CrushTestOptions options = ParseTest(arguments.Skip(2));
                    new CrushTester(Load(file), options, output).Run();
                    return 0;

                default:
                    error.WriteLine(Usage);
                    return 1;
            }
        }
        catch (CrushFormatException e)
        {
            error.WriteLine($"{file}: {e.Message}");
        }
        catch (Exception e) when (e is ArgumentException or IOException or UnauthorizedAccessException)
        {
            error.WriteLine(e.Message);
        }

        return 1;
    }

    /// <summary>Reads a map in either form: the binary one starts with its magic number, which no text does.</summary>
    /// <exception cref="CrushFormatException">It is neither, or it is broken.</exception>
    public static CrushMap Load(string file)
    {
        byte[] bytes = File.ReadAllBytes(file);
        bool binary = bytes.Length >= 4 && BitConverter.ToUInt32(bytes) == Format.CrushBinaryWriter.Magic;
        return binary ? CrushMap.Decode(bytes) : CrushMap.CompileText(System.Text.Encoding.UTF8.GetString(bytes));
    }

    /// <summary>Reads the options of <c>test</c>, as crushtool spells them.</summary>
    /// <exception cref="ArgumentException">An unknown option, or a value that is missing or no number.</exception>
    public static CrushTestOptions ParseTest(IEnumerable<string> arguments)
    {
        ArgumentNullException.ThrowIfNull(arguments);
        var options = new CrushTestOptions();
        var weights = new Dictionary<int, double>();
        using IEnumerator<string> word = arguments.GetEnumerator();
        while (word.MoveNext())
        {
            string option = word.Current;
            options = option switch
            {
                "--test" => options,
                "--rule" => options with { Rule = Integer() },
                "--num-rep" => Integer() is var n ? options with { MinReplicas = n, MaxReplicas = n } : options,
                "--min-rep" => options with { MinReplicas = Integer() },
                "--max-rep" => options with { MaxReplicas = Integer() },
                "--min-x" => options with { MinX = Integer() },
                "--max-x" => options with { MaxX = Integer() },
                "--x" => Integer() is var x ? options with { MinX = x, MaxX = x } : options,
                "--pool-id" => options with { PoolId = Integer() },
                "--weight" => Weight(),
                "--show-mappings" => options with { ShowMappings = true },
                "--show-bad-mappings" => options with { ShowBadMappings = true },
                "--show-statistics" => options with { ShowStatistics = true },
                "--show-utilization" => options with { ShowUtilization = true },
                "--show-utilization-all" => options with { ShowUtilizationAll = true },
                _ => throw new ArgumentException($"Unknown option '{option}'.\n{Usage}"),
            };

            string Value() => word.MoveNext() ? word.Current : throw new ArgumentException($"{option} needs a value.");

            int Integer() => int.TryParse(Value(), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int value)
                ? value
                : throw new ArgumentException($"{option} needs a number, not '{word.Current}'.");

            CrushTestOptions Weight()
            {
                int device = Integer();
                weights[device] = double.TryParse(Value(), NumberStyles.Float, CultureInfo.InvariantCulture, out double value)
                    ? value
                    : throw new ArgumentException($"{option} needs a device and a number, not '{word.Current}'.");
                return options;
            }
        }

        return options with { Weights = weights };
    }

    private static string? OutputFile(IReadOnlyList<string> arguments)
    {
        for (int i = 2; i < arguments.Count; i++)
        {
            if (arguments[i] is "-o" or "--output")
            {
                return i + 1 < arguments.Count ? arguments[i + 1] : throw new ArgumentException("-o needs a file name.");
            }
        }

        return null;
    }
}
