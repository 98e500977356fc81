/**
 * write_model KIND BEADS WIDTH LAYERS HEAD_WIDTH PRIOR WALL VOLUMES WINDOW WINDOW_WIDTH SEED PREFIX: a random model as PREFIX.json and
 * PREFIX.safetensors, for tests that evaluate models of any shape where nothing can train one.
 */

#include <cstdlib>
#include <fstream>
#include <iostream>

#include "RandomModel.h"

int main(int count, char** arguments) {
    using namespace FPForcePlugin;
    if (count != 13) {
        std::cerr << "usage: write_model KIND BEADS WIDTH LAYERS HEAD_WIDTH PRIOR WALL VOLUMES WINDOW WINDOW_WIDTH SEED PREFIX"
                  << std::endl;
        return 2;
    }
    const auto number = [&](int index) { return std::atoi(arguments[index]); };
    ModelShape shape;
    shape.beads = number(2);
    shape.width = number(3);
    shape.layers = number(4);
    shape.headWidth = number(5);
    shape.prior = number(6) != 0;
    shape.wall = number(7) != 0;
    shape.volumes = number(8) != 0;
    shape.window = number(9);
    shape.windowWidth = number(10);
    shape.seed = static_cast<std::uint64_t>(number(11));
    const std::string kind = arguments[1], prefix = arguments[12];
    const ModelText model = kind == "internal" ? randomInternal(shape) : randomGraphTransformer(shape);
    std::ofstream(prefix + ".json", std::ios::binary) << model.description;
    std::ofstream(prefix + ".safetensors", std::ios::binary) << model.weights;
    return 0;
}
