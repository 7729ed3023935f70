// madupite's inexact policy iteration on a model in PETSc's binary format: as many solves as asked for, each with the statistics
// that madupite writes itself. Built and started by madupite.py.
#include <string>

#include "mdp.h"

int main(int argc, char **argv)
{
    auto madupite = Madupite::initialize(&argc, &argv);
    const int comm = Madupite::pyGetCommWorld(); // the one type of communicator that its library was made for
    const std::string folder = argv[1];
    const int repetitions = std::stoi(argv[2]);
    auto rewards = Matrix::fromFile(comm, "g", folder + "/g.bin", MatrixCategory::Cost, MatrixType::Dense);
    auto transitions =
        Matrix::fromFile(comm, "P", folder + "/P.bin", MatrixCategory::Dynamics, MatrixType::Sparse);
    for (int i = 0; i < repetitions; i++) {
        MDP mdp(madupite);
        mdp.setOption("-mode", "MAXREWARD");
        mdp.setOption("-discount_factor", argv[3]);
        mdp.setOption("-atol_pi", argv[4]);
        mdp.setOption("-ksp_type", argv[5]);
        mdp.setOption("-alpha", argv[6]);
        mdp.setOption("-max_iter_pi", "100000");
        mdp.setOption("-max_iter_ksp", "100000");
        mdp.setOption("-overwrite", "true");
        const std::string number = std::to_string(i);
        mdp.setOption("-file_stats", (folder + "/stats" + number + ".json").c_str());
        mdp.setOption("-file_cost", (folder + "/v.txt").c_str());
        mdp.setOption("-file_policy", (folder + "/policy.txt").c_str());
        mdp.setStageCostMatrix(rewards);
        mdp.setTransitionProbabilityTensor(transitions);
        mdp.solve();
    }
    return 0;
}
