// The figures of the page; each begins when it comes near the screen.
import "./figures/draw.js";
import "./figures/guess.js";
import "./figures/tree.js";
import "./figures/waves.js";
import "./figures/training.js";
import "./figures/meta_loss.js";
import "./figures/two_losses.js";
import "./figures/curvature.js";
import "./figures/reptile_step.js";
import "./figures/one_step.js";
import "./figures/near_theta.js";
import "./figures/comparison.js";
import "./figures/taylor.js";
import "./figures/manifolds.js";
import "./figures/convolution.js";
import "./figures/bug.js";
